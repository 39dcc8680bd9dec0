%% What the suites share. Nothing in here waits for time to pass: only for messages, ports and processes.
-module(testlib).

-export([armed/1, armed/2, start_armed/0, ended/1, end_of/2, why/1, get/2, by_site/2, spawn_waiting/0, waiting/0, register_waiting/1,
         load_version/2, ebin/0, project/0, peer/1, own_trace/0, os_threads/0, deep/1, text/1,
         gaps/0, ledger/0, elsewhere/1, as/2, leave/1]).

%% @doc The tests, with coroner armed around all of them, and no daemon.
armed(Tests) ->
    armed(#{}, Tests).

armed(Options, Tests) ->
    {setup,
     fun() -> ok = coroner:start(maps:merge(#{ingest => none}, Options)) end,
     fun(_) -> ok = coroner:stop() end,
     Tests}.

start_armed() ->
    ok = coroner:start(#{ingest => none}).

%% @doc Waits for the end of Pid, which somebody else brings about; it may have come already.
ended(Pid) ->
    Monitor = monitor(process, Pid),
    receive {'DOWN', Monitor, process, Pid, _} -> ok end.

%% @doc Does something, waits for the end of Pid, and returns its record.
end_of(Pid, Do) ->
    Monitor = monitor(process, Pid),
    _ = Do(Pid),
    receive {'DOWN', Monitor, process, Pid, _} -> why(Pid) end.

why(Pid) ->
    {ok, Record} = coroner:why(Pid),
    Record.

%% @doc A field by its dotted name, undefined where there is none.
get(Path, Record) when is_list(Path), is_integer(hd(Path)) ->
    get([list_to_existing_atom(Key) || Key <- string:split(Path, ".", all)], Record);
get([], Value) -> Value;
get([Key | Keys], Map) when is_map_key(Key, Map) -> get(Keys, maps:get(Key, Map));
get(_, _) -> undefined.

%% @doc Whether the origin's call site is this function and line.
by_site(Record, {Function, Line}) ->
    {get("origin.by_call", Record), get("origin.by_line", Record)} =:= {text(Function), Line}.

text({M, F, A}) -> iolist_to_binary(io_lib:format("~w:~w/~w", [M, F, A]));
text(Pid) when is_pid(Pid) -> list_to_binary(pid_to_list(Pid)).

%% @doc A process that does as it is told: {exit, R}, {error, R}, {throw, R}, {link, P}, {trap, Bool}, ...
spawn_waiting() ->
    spawn(?MODULE, waiting, []).

waiting() ->
    receive
        {exit, Reason} -> exit(Reason);
        {error, Reason} -> error(Reason);
        {throw, Term} -> throw(Term);
        {exit_self, Reason} -> exit(self(), Reason), waiting();
        stop -> ok;
        {From, link, Pid} -> link(Pid), From ! {self(), done}, waiting();
        {From, unlink, Pid} -> unlink(Pid), From ! {self(), done}, waiting();
        {From, trap, Trap} -> process_flag(trap_exit, Trap), From ! {self(), done}, waiting();
        {From, register, Name} -> register(Name, self()), From ! {self(), done}, waiting();
        {From, exit2, Pid, Reason} -> exit(Pid, Reason), From ! {self(), done}, waiting();
        {'EXIT', _, {ignore, _}} -> waiting();
        {'EXIT', _, Reason} -> exit(Reason)
    end.

register_waiting(Name) ->
    Pid = spawn_waiting(),
    Pid ! {self(), register, Name},
    receive {Pid, done} -> Pid end.

%% @doc Loads a version of a module with looping processes in it: loop/0 stays in its own code, version/0 tells.
load_version(Module, Version) ->
    Forms = [{attribute, 1, module, Module},
             {attribute, 2, export, [{loop, 0}, {version, 0}]},
             form(3, "version() -> " ++ integer_to_list(Version) ++ "."),
             form(4, "loop() -> receive stop -> ok; {From, ping} -> From ! {self(), pong}, loop() end.")],
    {ok, Module, Binary} = compile:forms(Forms, [debug_info]),
    Binary.

form(Line, Text) ->
    {ok, Tokens, _} = erl_scan:string(Text, Line),
    {ok, Form} = erl_parse:parse_form(Tokens),
    Form.

ebin() -> filename:dirname(code:which(coroner)).

project() ->
    {ok, Folder} = file:get_cwd(),
    Folder.

%% @doc Another node on a pipe of its own, with coroner in its path. It ends with the caller.
peer(Arguments) ->
    {ok, Peer, _Node} = peer:start_link(#{connection => standard_io,
                                          args => ["-pa", ebin(), filename:dirname(code:which(?MODULE)) | Arguments]}),
    Peer.

%% @doc What of ours is traced in this node.
own_trace() ->
    Processes = [Pid || Pid <- processes(), {tracer, {coroner_nif, _}} <- [trace_info(Pid, tracer)]],
    New = trace_info(new_processes, flags),
    Functions = [MFA || {MFA, _} <- coroner_patterns:all(),
                        not lists:member(element(2, trace_info(MFA, meta)), [false, [], undefined])],
    {Processes, New, Functions}.

trace_info(What, Item) ->
    try erlang:trace_info(What, Item) catch error:badarg -> undefined end.

%% @doc The operating system's threads of this node.
os_threads() ->
    {ok, Threads} = file:list_dir("/proc/self/task"),
    length(Threads).

%% @doc The gaps among the records, the oldest first.
gaps() ->
    {ok, Records} = coroner:recent(1000),
    lists:reverse([Record || #{schema := <<"coroner.gap/1">>} = Record <- Records]).

%% @doc The processes that the ledger takes for alive.
ledger() ->
    ledger(0).

ledger(From) ->
    case coroner_nif:pids(From, 100_000) of
        {0, Pids} -> Pids;
        {Next, Pids} -> Pids ++ ledger(Next)
    end.

%% @doc Another tool: a process that does what as/2 asks of it, and is a tracer as long as it lives.
elsewhere(Do) ->
    Tool = spawn(fun Loop() -> receive {From, F} -> From ! {self(), F()}, Loop(); leave -> ok; _ -> Loop() end end),
    as(Tool, Do),
    Tool.

as(Tool, Do) ->
    Tool ! {self(), Do},
    receive {Tool, Result} -> Result end.

leave(Tool) ->
    Tool ! leave,
    ended(Tool).

%% @doc A tuple in a tuple, Depth deep.
deep(Depth) -> deep(Depth, bottom).
deep(0, Term) -> Term;
deep(Depth, Term) -> deep(Depth - 1, {Term}).
