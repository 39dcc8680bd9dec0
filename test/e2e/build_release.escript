#!/usr/bin/env escript
%% Builds two releases around coroner as it was built, and installs the first as a target system of its own:
%%
%%   build_release.escript BUILT ROOT CONFIG [OLDER LIBRARY]
%%
%% BUILT is coroner's folder (ebin and priv). Release 1 has it under the version it has, release 2 as the next patch,
%% with a beam folder and a library of its own; or release 1 has it as the version OLDER with that library, release 2 as the
%% version it has. ROOT/releases/coroner_test-2.tar.gz is release 2, ready to be unpacked;
%% CONFIG is
%% the coroner application's environment, an Erlang term. Release 1 is started with
%%
%%   ROOT/bin/start_erl ROOT ROOT/releases ROOT/releases/start_erl.data
-mode(compile).

main([Built, Root, Config]) ->
    Library = library(Built),
    build(Built, Root, Config, [{Vsn, Library} || Vsn <- versions(Built)]);
main([Built, Root, Config, Older, Library]) ->
    [Vsn, _] = versions(Built),
    build(Built, Root, Config, [{Older, Library}, {Vsn, library(Built)}]);
main(_) ->
    io:format(standard_error, "usage: build_release.escript BUILT ROOT CONFIG [OLDER LIBRARY]~n", []),
    halt(64).

library(Built) ->
    filename:join(Built, "priv/coroner_nif.so").

build(Built, Root, Config, Versions) ->
    Out = Root ++ ".build",
    try
        [One, Two] = [application(Built, Out, Vsn, Library) || {Vsn, Library} <- Versions],
        Paths = [Ebin || {_, Ebin} <- [One, Two]],
        [release(Out, Number, Vsn, Config) || {Number, {Vsn, _}} <- [{"1", One}, {"2", Two}]],
        %% In this order: the relup lies with release 2 when that is packed.
        good(systools:make_relup(rel(Out, "2"), [rel(Out, "1")], [rel(Out, "1")],
                                 [{path, Paths}, {outdir, dir(Out, "2")}, silent])),
        pack(Out, "1", Paths, [{erts, code:root_dir()}]),
        pack(Out, "2", Paths, []),
        install(Out, Root)
    after
        ok = file:del_dir_r(Out)
    end.

%% The version that was built, and the one after it.
versions(Built) ->
    {ok, [{application, coroner, Keys}]} = file:consult(filename:join(Built, "ebin/coroner.app")),
    Vsn = proplists:get_value(vsn, Keys),
    [Major, Minor, Patch] = string:split(Vsn, ".", all),
    [Vsn, lists:flatten(io_lib:format("~s.~s.~b", [Major, Minor, list_to_integer(Patch) + 1]))].

%% coroner-VSN: the beams and the library are copies; the application's file and the appup say this version.
application(Built, Out, Vsn, Library) ->
    Folder = filename:join([Out, "lib", "coroner-" ++ Vsn]),
    Ebin = filename:join(Folder, "ebin"),
    ok = filelib:ensure_dir(filename:join(Ebin, "x")),
    ok = filelib:ensure_dir(filename:join([Folder, "priv", "x"])),
    [copy(Beam, filename:join(Ebin, filename:basename(Beam))) || Beam <- filelib:wildcard(filename:join(Built, "ebin/*.beam"))],
    copy(Library, filename:join(Folder, "priv/coroner_nif.so")),
    {ok, [{application, coroner, Keys}]} = file:consult(filename:join(Built, "ebin/coroner.app")),
    write(filename:join(Ebin, "coroner.app"), {application, coroner, lists:keyreplace(vsn, 1, Keys, {vsn, Vsn})}),
    {ok, [{_, Up, Down}]} = file:consult(filename:join(Built, "ebin/coroner.appup")),
    write(filename:join(Ebin, "coroner.appup"), {Vsn, Up, Down}),
    {Vsn, Ebin}.

release(Out, Number, Vsn, Env) ->
    Applications = [{Name, vsn(Name)} || Name <- [kernel, stdlib, sasl]] ++ [{coroner, Vsn}],
    ok = filelib:ensure_dir(rel(Out, Number)),
    write(rel(Out, Number) ++ ".rel", {release, {"coroner_test", Number}, {erts, erlang:system_info(version)}, Applications}),
    ok = file:write_file(filename:join(dir(Out, Number), "sys.config"),
                         ["[{kernel, [{logger_level, critical}]}, {coroner, ", Env, "}].\n"]).

vsn(Name) ->
    _ = application:load(Name),
    {ok, Vsn} = application:get_key(Name, vsn),
    Vsn.

%% make_tar packs the boot file, sys.config and relup that lie with the .rel file.
pack(Out, Number, Paths, Erts) ->
    Options = [{path, Paths}, {outdir, dir(Out, Number)}, silent],
    good(systools:make_script(rel(Out, Number), Options)),
    good(systools:make_tar(rel(Out, Number), Erts ++ Options)).

good(ok) -> ok;
good({ok, _, []}) -> ok;
good({ok, _, _, []}) -> ok;
good(Other) -> error(Other).

%% See OTP's "Creating and Upgrading a Target System". Without RELEASES and start_erl.data below its own root,
%% release_handler would work on the releases of the machine.
install(Out, Root) ->
    Releases = filename:join(Root, "releases"),
    ok = filelib:ensure_dir(filename:join(Root, "bin/x")),
    ok = erl_tar:extract(rel(Out, "1") ++ ".tar.gz", [compressed, {cwd, Root}]),
    Erts = erlang:system_info(version),
    Start = filename:join(Root, "bin/start_erl"),
    copy(filename:join([Root, "erts-" ++ Erts, "bin", "start_erl"]), Start),
    ok = file:change_mode(Start, 8#755),
    ok = file:write_file(filename:join(Releases, "start_erl.data"), [Erts, " 1\n"]),
    ok = release_handler:create_RELEASES(Root, Releases, filename:join(Releases, filename:basename(rel(Out, "1")) ++ ".rel"), []),
    copy(rel(Out, "2") ++ ".tar.gz", filename:join(Releases, filename:basename(rel(Out, "2")) ++ ".tar.gz")).

dir(Out, Number) -> filename:join(Out, Number).
rel(Out, Number) -> filename:join(dir(Out, Number), "coroner_test-" ++ Number).

copy(From, To) -> {ok, _} = file:copy(From, To).

write(File, Term) -> ok = file:write_file(File, io_lib:format("~p.~n", [Term])).
