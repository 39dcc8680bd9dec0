%% What the suites share. Nothing in here waits for time to pass: only for messages, ports and processes.
-module(testlib).

-export([armed/1, armed/2, start_armed/0, ended/1, end_of/2, why/1, get/2, by_site/2, spawn_waiting/0, waiting/0, register_waiting/1,
         load_version/2, ebin/0, project/0, peer/1, epmd/0, epmd_stop/1, own_trace/0, os_threads/0, modules/0, unload/0, unload/1,
         own_links/0, deep/1, text/1, gaps/0, ledger/0, elsewhere/1, as/2, leave/1, dbg_stop/0]).

%% @doc The tests, with coroner armed around all of them, and no daemon.
armed(Tests) ->
    armed(#{}, Tests).

armed(Options, Tests) ->
    {setup,
     fun() -> ok = coroner:start(maps:merge(#{ingest => none}, Options)) end,
     fun(_) -> ok = coroner:stop() end,
     [patient(Test) || Test <- Tests]}.

%% EUnit gives a test five seconds: on a machine that is busy with others that is a guess.
patient({Name, Fun}) when is_function(Fun, 0) -> {Name, {timeout, 60, Fun}};
patient(Test) -> Test.

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

%% @doc An epmd of our own, on a port of its own: {Epmd, what peer needs in its `env'}. It ends with epmd_stop/1.
epmd() ->
    %% A port that was free a moment ago.
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Number} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Port = open_port({spawn_executable, os:find_executable("epmd")},
                     [{args, ["-d", "-d", "-address", "127.0.0.1", "-port", integer_to_list(Number)]}, stderr_to_stdout,
                      {line, 256}, exit_status]),
    {await_epmd(Port), [{"ERL_EPMD_PORT", integer_to_list(Number)}]}.

await_epmd(Port) ->
    receive
        {Port, {data, {_, Line}}} ->
            case string:find(Line, "entering the main select") of
                nomatch -> await_epmd(Port);
                _ -> Port
            end;
        {Port, {exit_status, Status}} ->
            error({epmd, Status})
    end.

epmd_stop(Port) ->
    {os_pid, Pid} = erlang:port_info(Port, os_pid),
    _ = os:cmd("kill " ++ integer_to_list(Pid)),
    (fun Wait() ->
             receive
                 {Port, {exit_status, _}} -> ok;
                 {Port, {data, _}} -> Wait()
             end
     end)().

%% @doc What of ours is traced in this node.
own_trace() ->
    case coroner_trace:kind() of
        shared ->
            {[Pid || Pid <- processes(), {tracer, {coroner_nif, _}} <- [trace_info(Pid, tracer)]],
             trace_info(new_processes, flags),
             [MFA || {MFA, _} <- coroner_patterns:all(),
                     not lists:member(element(2, trace_info(MFA, meta)), [false, [], undefined])]};
        session ->
            own_session(list_to_atom("trace"))
    end.

own_session(Module) ->
    case [Session || {coroner, _} = Session <- Module:session_info(all)] of
        [] ->
            {[], {flags, []}, []};
        [Session] ->
            {[Pid || Pid <- processes(), {flags, [_ | _]} <- [Module:info(Session, Pid, flags)]],
             Module:info(Session, new_processes, flags),
             [MFA || {MFA, _} <- coroner_patterns:all(), is_own(Module:info(Session, MFA, meta))]}
    end.

is_own({meta, {coroner_nif, _}}) -> true;
is_own(_) -> false.

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
    {Next, Members} = coroner_nif:members(From, 100_000),
    [Pid || Pid <- Members, is_pid(Pid)] ++ case Next of 0 -> []; _ -> ledger(Next) end.

%% @doc Another tool: a process that does what as/2 asks of it, and is a tracer as long as it lives.
elsewhere(Do) ->
    Tool = spawn(fun Loop() -> receive {From, F} -> From ! {self(), F()}, Loop(); leave -> ok; _ -> Loop() end end),
    as(Tool, Do),
    Tool.

as(Tool, Do) ->
    Tool ! {self(), Do},
    receive {Tool, Result} -> Result end.

%% @doc dbg:stop/0 returns before it is done; the process that its events went to, and which still holds the flags, ends
%% after its server.
dbg_stop() ->
    Dbg = whereis(dbg),
    {ok, Tracer} = dbg:get_tracer(),
    _ = dbg:stop(),
    ended(Dbg),
    ended(Tracer).

leave(Tool) ->
    Tool ! leave,
    ended(Tool).

%% @doc All modules of coroner.
modules() ->
    {ok, Files} = file:list_dir(ebin()),
    [list_to_atom(filename:basename(File, ".beam")) || File <- Files, filename:extension(File) =:= ".beam"].

%% @doc Leaves no module of coroner in the node.
unload() ->
    lists:foreach(fun unload/1, [Module || Module <- modules(), erlang:module_loaded(Module)]).

unload(Module) ->
    _ = code:purge(Module),
    true = code:delete(Module),
    _ = code:purge(Module),
    false = erlang:module_loaded(Module).

%% @doc {Links by the VM, links by the ledger} of this process, both at one moment, but for what is dead: a link to
%% a dead process stands in the ledger until this one ends (OTP 25 has no event for that).
own_links() ->
    {links, Before} = process_info(self(), links),
    Ledger = coroner_nif:links(self()),
    %% Nobody but this process changes its links, so when they were alike before and after they were meanwhile.
    case process_info(self(), links) of
        {links, Before} when is_list(Ledger) -> {living(Before), living(Ledger)};
        {links, Before} -> {living(Before), Ledger};
        _ -> own_links()
    end.

living(Links) ->
    lists:sort([Link || Link <- Links, lives(Link)]).

lives(Pid) when is_pid(Pid) -> is_process_alive(Pid);
lives(Port) -> erlang:port_info(Port, id) =/= undefined.

%% @doc A tuple in a tuple, Depth deep.
deep(Depth) -> deep(Depth, bottom).
deep(0, Term) -> Term;
deep(Depth, Term) -> deep(Depth - 1, {Term}).
