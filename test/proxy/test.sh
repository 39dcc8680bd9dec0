#!/bin/bash
# Tests the proxy by itself, without coroner: that it is a real one, and that its upgrade does what the
# demonstration needs. Prints `ok NAME` or `not ok NAME: why`, and `N passed, N failed` at the end.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"

fail() {
    say "$*"
    exit 1
}

expect() { # WHAT ACTUAL EXPECTED
    [ "$2" = "$3" ] || fail "$1: expected $3, got $2"
}

# expect_end PID CODE WHAT: waits until the client has ended.
expect_end() {
    local status=0
    wait "$1" || status=$?
    rig_ended "$1"
    expect "the exit code of $3" "$status" "$2"
}

# ---- the tests ---------------------------------------------------------------------------------

a_query_passes() {
    expect "the answer" "$("${PROXY_CLIENT[@]}" -u alice -e 'SELECT 6 * 7, USER()')" $'42\talice@localhost'
    # An error is the server's own, and the session goes on.
    expect "after an error" "$(printf 'SELECT nonsense;\nSELECT 1;\n' | "${PROXY_CLIENT[@]}" -u alice --force 2>"$RIG/error")" 1
    grep -q "ERROR 1054 (42S22)" "$RIG/error" || fail "the server's error did not come: $(cat "$RIG/error")"
}

the_user_is_known() {
    busy_start bob
    proxy_match '[#{user := <<"bob">>}]' '[S || #{user := <<"bob">>} = S <- ump_proxy:sessions()]'
}

a_20_mb_blob_passes_both_ways() {
    head -c 20971520 /dev/urandom >"$RIG/blob"
    { printf "REPLACE INTO blobs VALUES (1, x'" && od -An -v -tx1 "$RIG/blob" | tr -d ' \n' && printf "');"; } | "${PROXY_CLIENT[@]}" -u alice shop
    expect "the blob in the server" "$(server_sql -e 'SELECT MD5(b) FROM shop.blobs WHERE id = 1')" "$(md5sum <"$RIG/blob" | cut -c1-32)"
    "${PROXY_CLIENT[@]}" -u alice --raw -e 'SELECT b FROM shop.blobs WHERE id = 1' | head -c 20971520 | cmp - "$RIG/blob"
}

prepared_statements_pass() {
    expect "prepared.pl" "$("$PROXY_SOURCE/prepared.pl" "$PROXY_PORT" alice)" ok
}

tls_and_compression_are_refused_or_passed() {
    # The server has no TLS here, so a client that insists is told; compressed packets just pass.
    ! "${PROXY_CLIENT[@]}" -u alice --ssl-verify-server-cert -e 'SELECT 1' >/dev/null 2>&1 || fail "TLS to a server without"
    expect "compressed" "$("${PROXY_CLIENT[@]}" -u alice --compress -e "SELECT LENGTH(REPEAT('x', 5000000))")" 5000000
}

any_cut_of_the_bytes_passes() {
    expect "one byte at a time" "$("$PROXY_SOURCE/raw_client.py" "$PROXY_PORT" alice dribble)" ok
    expect "pipelined" "$("$PROXY_SOURCE/raw_client.py" "$PROXY_PORT" alice pipeline)" ok
}

# raw_start CASE: a raw_client.py that has said `ready`; raw_go lets it go on and end.
raw_start() {
    mkfifo "$RIG/raw.in"
    "$PROXY_SOURCE/raw_client.py" "$PROXY_PORT" alice "$1" <"$RIG/raw.in" >"$RIG/raw.out" 2>&1 &
    RAW_PID=$!
    rig_started "$RAW_PID"
    exec {RAW_IN}>"$RIG/raw.in"
    await_line "$RIG/raw.out" "$RAW_PID" '^ready$' >/dev/null
}

raw_go() {
    echo go >&"$RAW_IN"
    exec {RAW_IN}>&-
    expect_end "$RAW_PID" 0 "raw_client.py"
    expect "raw_client.py" "$(tail -n 1 "$RIG/raw.out")" ok
}

a_slow_reader_holds_the_server_back() {
    local before after
    a_20_mb_blob_passes_both_ways
    before=$(awk '/VmHWM/ {print $2}' "/proc/$PROXY_PID/status")
    raw_start slow
    # In the time that these 40 MB take, the 200 MB would have gone into a proxy without back-pressure.
    a_20_mb_blob_passes_both_ways
    expect "the server's state" "$(server_sql -e "SELECT STATE FROM information_schema.PROCESSLIST
        WHERE INFO LIKE '%seq_1_to_200%' AND ID <> CONNECTION_ID()")" "Writing to net"
    raw_go
    after=$(awk '/VmHWM/ {print $2}' "/proc/$PROXY_PID/status")
    [ $((after - before)) -lt 50000 ] || fail "the proxy grew from $before to $after kB for 200 MB"
}

twenty_clients_at_once() {
    local n pids=()
    for n in $(seq 20); do
        seq 200 | awk -v n="$n" '{printf "SELECT %d * 1000 + %d, REPEAT(\x27%d\x27, %d);\n", n, $1, n % 10, $1 * 50}' |
            "${PROXY_CLIENT[@]}" -u alice >"$RIG/many.$n" 2>&1 &
        pids+=($!)
        rig_started $!
    done
    for n in "${pids[@]}"; do
        expect_end "$n" 0 "a client"
    done
    for n in $(seq 20); do
        seq 200 | awk -v n="$n" '{s = ""; for (i = 0; i < $1 * 50; i++) s = s n % 10; printf "%d\t%s\n", n * 1000 + $1, s}' |
            cmp - "$RIG/many.$n"
    done
}

a_client_that_is_killed_leaves_nothing() {
    busy_start bob
    proxy_session bob
    kill -KILL "$BUSY_PID"
    proxy_await_end "$SESSION" "$SERVER"
}

# The server dies with SIGKILL (by the caller, below) while a query is in flight.
a_dead_server_is_a_clean_error() {
    busy_start bob
    proxy_session bob
    kill -KILL "$MARIADB_PID"
    expect_end "$BUSY_PID" 1 "the busy client"
    grep -q 'ERROR 2013 .*Lost connection' "$RIG/bob.out" || fail "no clean error: $(cat "$RIG/bob.out")"
    proxy_await_end "$SESSION" "$SERVER"
    ! "${PROXY_CLIENT[@]}" -u alice -e 'SELECT 1' >"$RIG/down.out" 2>&1 || fail "an answer without a server"
    grep -q '1105.*ump_proxy: no connection to the backend: econnrefused' "$RIG/down.out" || fail "no clean error: $(cat "$RIG/down.out")"
    proxy_match '[]' 'ump_proxy:sessions()'
}

the_server_is_back() {
    a_query_passes
}

in_1_0_long_data_looks_busy() {
    raw_start long_data
    expect "busy" "$(in_session_code alice)" true
    raw_go
}

# in_session_code USER: whether the user's session, once it has passed on the 1.6 MB of long_data, is in
# its module's code and not in gen_server's loop.
in_session_code() {
    # The socket's counter has no event: ask it. Then a session in gen_server's loop answers a call, and
    # has done so after it is through with the data; one in await_answer/1 does not answer.
    proxy_eval "
        #{session := Session, server := Server} = ump_proxy:session_of(<<\"$1\">>),
        {links, Links} = process_info(Server, links),
        [Socket] = [Port || Port <- Links, is_port(Port)],
        Passed = fun Passed() ->
                         case inet:getstat(Socket, [send_oct]) of
                             {ok, [{send_oct, N}]} when N > 1600000 -> ok;
                             _ -> timer:sleep(5), Passed()
                         end
                 end,
        Passed(),
        catch gen_server:call(Session, sync, 1000),
        {current_stacktrace, Stack} = process_info(Session, current_stacktrace),
        lists:keymember(ump_proxy_session, 1, Stack)."
}

an_upgrade_kills_the_busy_session_alone() {
    local idle
    steady_start steady1 steady2 steady3
    idle_start carol
    idle=$IDLE_PID
    busy_start bob
    proxy_session bob

    proxy_upgrade_install
    # Nobody has died of it, and all but the busy and the idle one are in 1.1 now.
    proxy_match '[true, true]' "[is_process_alive(list_to_pid(P)) || P <- [\"$SESSION\", \"$SERVER\"]]"
    steady_turn 1
    # The busy one has ended when make_permanent has purged.
    proxy_upgrade_make_permanent
    proxy_await_end "$SESSION" "$SERVER"
    expect_end "$BUSY_PID" 1 "the busy client"
    grep -q 'ERROR 2013 .*Lost connection' "$RIG/bob.out" || fail "no clean error: $(cat "$RIG/bob.out")"
    await_line "$PROXY_LOG" "$PROXY_PID" '^\*\* killed' >/dev/null

    steady_turn 1
    steady_end
    echo "SELECT 'after', CONNECTION_ID();" >&"$IDLE_IN"
    await_line "$RIG/carol.out" "$idle" '^after' >/dev/null
    exec {IDLE_IN}>&-
    expect_end "$idle" 0 "the idle client"
    expect "the idle client's connections" "$(cut -f 2 "$RIG/carol.out" | sort -u | wc -l)" 1
    expect "how many gen_servers died" "$(grep -c '^\*\* Generic server' "$PROXY_LOG")" 1
    proxy_match '[{_, "1.1", _, permanent}, {_, "1.0", _, old}]' 'release_handler:which_releases()'
    grep -q ' 1.1$' "$RIG/proxy/releases/start_erl.data" || fail "start_erl.data was not moved to 1.1"
}

new_sessions_run_1_1() {
    a_query_passes
    raw_start long_data
    expect "busy" "$(in_session_code alice)" false
    raw_go
}

# ---- running them ------------------------------------------------------------------------------

passed=0 failed=0

# Each in a subshell, so that `set -e` works inside and what it started ends with it.
run() {
    local status before=${#rig_pids[@]}
    set +e
    (
        set -e
        trap 'for pid in "${rig_pids[@]:$before}"; do rig_stop "$pid"; done; rm -f "$RIG"/*.in' EXIT
        "$1"
    ) >"$RIG/test.log" 2>&1
    status=$?
    set -e
    if [ "$status" = 0 ]; then
        echo "ok $1"
        passed=$((passed + 1))
    else
        echo "not ok $1: $(tail -n 3 "$RIG/test.log" | tr '\n' ' ')(exit code $status)"
        cp "$RIG/test.log" "$RIG/log/$1.log"
        failed=$((failed + 1))
    fi
}

rig_on_exit() {
    if [ "$1" != 0 ]; then rig_logs 40; fi
}

rig_open coroner-test-proxy
epmd_start
proxy_build "$RIG/build"
proxy_install "$RIG/build" "$RIG/proxy"
mariadb_start
mariadb_user alice bob carol steady1 steady2 steady3
proxy_start "$RIG/proxy"

run a_query_passes
run the_user_is_known
run a_20_mb_blob_passes_both_ways
run prepared_statements_pass
run tls_and_compression_are_refused_or_passed
run any_cut_of_the_bytes_passes
run a_slow_reader_holds_the_server_back
run twenty_clients_at_once
run a_client_that_is_killed_leaves_nothing
run a_dead_server_is_a_clean_error
rig_stop "$MARIADB_PID" KILL 2>/dev/null
mariadb_run
run the_server_is_back
run in_1_0_long_data_looks_busy
run an_upgrade_kills_the_busy_session_alone
run new_sessions_run_1_1

proxy_stop
mariadb_stop
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
