#!/bin/bash
# The demonstration, `make demo`: a MySQL proxy is upgraded hot under SQL load, a session of it is
# killed by hand, and coroner says who did what and why.
#
# On standard output come the records as coronerd wrote them, one JSON object a line, and nothing else.
# The story goes to standard error. Exit code 0 only if the records tell what happened; whatever
# happens, nothing stays running and no file stays behind.
set -euo pipefail
cd "$(dirname "$0")/../.."
# What runs here can neither write to standard output nor keep it open.
exec 3>&1 1>&2

# shellcheck source=test/proxy/lib.sh
. test/proxy/lib.sh

step() { printf '\n== %s\n' "$*" >&2; }

rig_on_exit() {
    if [ "$1" != 0 ]; then
        rig_logs 25
        step "The demonstration failed (exit code $1); above are the ends of the logs"
    fi
}

# lost_its_connection USER PID: the client that was in the middle of a command has got an error for it.
lost_its_connection() {
    local status=0
    wait "$2" || status=$?
    rig_ended "$2"
    say "$1's client: $(tail -n 1 "$RIG/$1.out")"
    [ "$status" = 1 ] && grep -q 'ERROR 2013 .*Lost connection' "$RIG/$1.out"
}

# in_crash_log PID: what OTP itself has to say about the server's death.
in_crash_log() {
    await_line "$PROXY_LOG" "$PROXY_PID" "^\*\* Generic server $1 terminating" >/dev/null
    await_line "$PROXY_LOG" "$PROXY_PID" "^    pid: $1\$" >/dev/null
    grep -A 4 "^\*\* Generic server $1 terminating" "$PROXY_LOG" | sed 's/^/    /' >&2
}

# recorded PID...: the records of these processes have come out of coronerd.
recorded() {
    local pid
    for pid in "$@"; do
        await_line "$RECORDS" "$CORONERD_PID" "\"process\": ?\{[^}]*\"pid\": ?\"$pid\"" >/dev/null
    done
}

main() {
    step "Packages and building"
    scripts/deps.sh build demo
    mkdir -p _build
    # Two demonstrations may begin at the same time.
    MAKEFLAGS='' flock _build/demo.lock make --silent all

    rig_open coroner-demo
    QUERY=$RIG/query.sock INGEST=$RIG/ingest.sock RECORDS=$RIG/exits.ndjson

    step "A MySQL proxy in Erlang, release 1.0, in front of a MariaDB of its own"
    epmd_start
    proxy_build "$RIG/build"
    proxy_install "$RIG/build" "$RIG/proxy"
    mariadb_start
    mariadb_user anna ben carla bob ida dan
    proxy_start "$RIG/proxy"
    say "$PROXY_NODE (OS process $PROXY_PID) takes MySQL clients on 127.0.0.1:$PROXY_PORT."
    say "It is a stock OTP release, and coroner is not in it."

    step "Clients: anna, ben and carla never stop, ida and dan are idle, bob waits for a long query"
    steady_start anna ben carla
    idle_start ida
    IDA_PID=$IDLE_PID IDA_IN=$IDLE_IN
    idle_start dan
    proxy_session dan
    DAN_SESSION=$SESSION DAN_SERVER=$SERVER
    busy_start bob
    proxy_session bob
    BOB_SESSION=$SESSION BOB_SERVER=$SERVER

    step "coronerd starts, and coroner is loaded into the running proxy"
    priv/coronerd --listen "$INGEST" --query "$QUERY" --store "$RIG/exits.db" --out "$RECORDS" \
        >"$RIG/log/coronerd.log" 2>&1 &
    CORONERD_PID=$!
    rig_started "$CORONERD_PID"
    await_line "$RIG/log/coronerd.log" "$CORONERD_PID" 'ready: coronerd' >/dev/null
    priv/coronerctl attach "$PROXY_NODE" --cookie-file "$HOME/.erlang.cookie" --ingest "$INGEST"
    # Of processes that lived before, coroner is sure a second later: until then, something may happen to
    # them of which it has not seen the beginning. These turns take longer than that.
    steady_turn 250

    step "The hot upgrade to release 1.1"
    proxy_upgrade_install
    say "release_handler:install_release(\"1.1\") has loaded ump_proxy_session anew; bob's session is still in the old code."
    proxy_match true "is_process_alive(list_to_pid(\"$BOB_SESSION\"))"
    # All that is said from here on is said to the new code.
    steady_turn 1
    proxy_upgrade_make_permanent
    say "release_handler:make_permanent(\"1.1\") has purged the old code."
    proxy_await_end "$BOB_SESSION" "$BOB_SERVER"
    lost_its_connection bob "$BUSY_PID"
    say "All that OTP's own log says of it:"
    in_crash_log "$BOB_SERVER"

    step "On another day: the person on call kills dan's session from a remote shell"
    test/demo/remote_shell.py "$PROXY_NODE" >"$RIG/log/shell.log" <<SHELL
register(oncall, self()).
self().
ump_proxy:session_of(<<"dan">>).
exit(pid($(tr . , <<<"${DAN_SESSION:1:-1}")), kill).
SHELL
    cat "$RIG/log/shell.log"
    # What the second line, self(), gave.
    SHELL_PID=$(grep -m1 -o '^<[0-9.]*>$' "$RIG/log/shell.log")
    proxy_await_end "$DAN_SESSION" "$DAN_SERVER"
    say "All that OTP's own log says of it:"
    in_crash_log "$DAN_SERVER"

    step "The others have not noticed"
    steady_turn 1
    steady_end
    printf "SELECT 'still here', CONNECTION_ID();\n" >&"$IDA_IN"
    await_line "$RIG/ida.out" "$IDA_PID" '^still here'
    [ "$(cut -f 2 "$RIG/ida.out" | sort -u | wc -l)" = 1 ]

    step "What coroner says"
    recorded "$BOB_SESSION" "$BOB_SERVER" "$DAN_SESSION" "$DAN_SERVER"
    proxy_match ok 'coroner:sync(10000)'
    priv/coronerctl --query "$QUERY" why "$BOB_SERVER"
    say
    priv/coronerctl --query "$QUERY" why "$DAN_SERVER"

    step "Coroner leaves the proxy, and everything ends"
    RELEASE_HANDLER=$(proxy_eval 'pid_to_list(whereis(release_handler)).' | tr -d '"')
    priv/coronerctl detach "$PROXY_NODE" --cookie-file "$HOME/.erlang.cookie"
    proxy_match '[]' '[M || {M, _} <- code:all_loaded(), lists:prefix("coroner", atom_to_list(M))]'
    proxy_stop
    mariadb_stop
    # It ends well only when everything is written.
    kill -TERM "$CORONERD_PID"
    wait "$CORONERD_PID"
    rig_ended "$CORONERD_PID"
}

main 3>&-
cat "$RECORDS" >&3

step "Whether the records tell what happened"
test/demo/check_story.py priv/schema/coroner.exit-1.schema.json "$(
    cat <<JSON
{"node": "$PROXY_NODE", "release_handler": "$RELEASE_HANDLER", "shell": "$SHELL_PID", "shell_name": "oncall",
 "upgrade": {"session": "$BOB_SESSION", "server": "$BOB_SERVER"},
 "by_hand": {"session": "$DAN_SESSION", "server": "$DAN_SERVER"}}
JSON
)" <"$RECORDS"
