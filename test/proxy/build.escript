#!/usr/bin/env escript
%% Builds the proxy's two releases with systools, 1.1 with the relup from 1.0:
%%
%%   build.escript OUT
%%
%% leaves OUT/1.0/ump_proxy-1.0.tar.gz with the emulator in it, and OUT/1.1/ump_proxy-1.1.tar.gz without:
%% it is the same one. test/proxy/lib.sh says how they are installed and started.
-mode(compile).

-define(VERSIONS, ["1.0", "1.1"]).

main([Out]) ->
    Source = filename:join(filename:dirname(filename:absname(escript:script_name())), "src"),
    [build(Source, Out, Vsn) || Vsn <- ?VERSIONS],
    %% In this order: the relup lies with 1.1 when that is packed.
    systools_ok(relup, systools:make_relup(rel(Out, "1.1"), [rel(Out, "1.0")], [rel(Out, "1.0")],
                                           [{path, path(Out)}, {outdir, dir(Out, "1.1")}, silent])),
    pack(Out, "1.0", [{erts, code:root_dir()}]),
    pack(Out, "1.1", []);
main(_) ->
    io:format(standard_error, "usage: build.escript OUT~n", []),
    halt(64).


build(Source, Out, Vsn) ->
    Ebin = filename:join(dir(Out, Vsn), "lib/ump_proxy-" ++ Vsn ++ "/ebin"),
    ok = filelib:ensure_dir(filename:join(Ebin, "x")),
    Files = filelib:wildcard(filename:join(Source, "*.erl")),
    Options = [{outdir, Ebin}, debug_info, warnings_as_errors, warn_missing_spec, report, deterministic]
        ++ [{d, 'UMP_PROXY_1_1'} || Vsn =:= "1.1"],
    Modules = [compiled(compile:file(File, Options), File) || File <- Files],
    application(Source, Ebin, Vsn, Modules),
    [copy("ump_proxy.appup", Source, Ebin) || Vsn =:= "1.1"],
    copy("sys.config", Source, dir(Out, Vsn)),
    release(Out, Vsn).

compiled({ok, Module}, _File) -> Module;
compiled(error, File) -> stop("~s does not compile", [File]).

application(Source, Ebin, Vsn, Modules) ->
    {ok, [{application, ump_proxy, Keys0}]} = file:consult(filename:join(Source, "ump_proxy.app.src")),
    Keys = lists:keystore(modules, 1, lists:keystore(vsn, 1, Keys0, {vsn, Vsn}), {modules, Modules}),
    write(filename:join(Ebin, "ump_proxy.app"), {application, ump_proxy, Keys}).

release(Out, Vsn) ->
    Apps = [{App, vsn(App)} || App <- [kernel, stdlib, sasl]] ++ [{ump_proxy, Vsn}],
    write(rel(Out, Vsn) ++ ".rel",
          {release, {"ump_proxy", Vsn}, {erts, erlang:system_info(version)}, Apps}).

vsn(App) ->
    case application:load(App) of
        ok -> ok;
        {error, {already_loaded, App}} -> ok
    end,
    {ok, Vsn} = application:get_key(App, vsn),
    Vsn.

%% make_tar packs the boot file, sys.config and relup that lie with the .rel file.
pack(Out, Vsn, Erts) ->
    Options = [{path, path(Out)}, {outdir, dir(Out, Vsn)}, silent],
    systools_ok(Vsn, systools:make_script(rel(Out, Vsn), Options)),
    systools_ok(Vsn, systools:make_tar(rel(Out, Vsn), Erts ++ Options)).

systools_ok(_What, ok) -> ok;
systools_ok(_What, {ok, _Module, []}) -> ok;
systools_ok(_What, {ok, _Relup, _Module, []}) -> ok;
systools_ok(What, Other) -> stop("systools: ~p: ~p", [What, Other]).

path(Out) -> [filename:join(dir(Out, Vsn), "lib/ump_proxy-" ++ Vsn ++ "/ebin") || Vsn <- ?VERSIONS].
dir(Out, Vsn) -> filename:join(Out, Vsn).
rel(Out, Vsn) -> filename:join(dir(Out, Vsn), "ump_proxy-" ++ Vsn).

copy(Name, From, To) ->
    {ok, _} = file:copy(filename:join(From, Name), filename:join(To, Name)).

write(File, Term) ->
    ok = file:write_file(File, io_lib:format("~p.~n", [Term])).

stop(Format, Args) ->
    io:format(standard_error, "build.escript: " ++ Format ++ "~n", Args),
    halt(1).
