# shellcheck shell=bash
# shellcheck disable=SC2034  # many variables are for the script that sources this
# Runs the MySQL proxy, its backend and what else a script starts, and leaves nothing behind.
#
#   set -euo pipefail
#   . test/proxy/lib.sh
#   rig_open NAME              a work directory, $RIG; removed at the script's end, whatever end that is
#   epmd_start                 an epmd of our own, on a loopback port of its own
#   mariadb_start              $MARIADB_SOCKET, $MARIADB_PID
#   proxy_build DIR            the two releases, as tar files
#   proxy_install DIR ROOT     1.0 as a target system in ROOT, 1.1 ready to be unpacked
#   proxy_start ROOT           $PROXY_NODE, $PROXY_PID, $PROXY_PORT, $PROXY_LOG, and
#                              "${PROXY_CLIENT[@]}" -u USER, a client on it
#   proxy_eval 'Erlang.'       evaluates in the proxy's node, prints the value
#   proxy_session USER         $SESSION and $SERVER, the processes of a client's connection
#   proxy_await_end PID...
#   proxy_upgrade_install / proxy_upgrade_make_permanent
#   busy_start USER            a client with a command in flight
#   idle_start USER            a client with none
#   steady_start USER...       clients that never stop; steady_turn, steady_end
#   proxy_stop, mariadb_stop   in order; without them the end of the script kills what still runs
#
# Several scripts can run at once: no fixed name, path or port. Every process started here is a child
# of the script and is ended by its pid. Functions return non-zero, having said why, when they fail.

# How long to wait for something that takes moments. Only a run that fails ever waits as long.
RIG_PATIENCE=${RIG_PATIENCE:-60}
PROXY_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s\n' "$*" >&2; }

# ---- the work directory, and what was started -------------------------------------------------

RIG=
rig_pids=()

# rig_open NAME: the traps are the script's own from here on; a script with an end of its own puts it
# into a function rig_on_exit, which gets the exit code and runs before anything is ended.
rig_open() {
    local parent=${TMPDIR:-/tmp}
    # The path of a Unix socket is short.
    [ ${#parent} -le 40 ] || parent=/tmp
    RIG=$(mktemp -d "$parent/$1.XXXXXX")
    # mariadbd may run as another user than we do.
    chmod 711 "$RIG"
    mkdir -p "$RIG/log"
    # Erlang nodes take the cookie from here: on a command line everybody could read it.
    mkdir -m 700 "$RIG/home"
    (umask 077 && head -c 24 /dev/urandom | base64 | tr -d '/+=\n' >"$RIG/home/.erlang.cookie")
    chmod 400 "$RIG/home/.erlang.cookie"
    export HOME=$RIG/home
    trap rig_close EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    trap 'exit 141' PIPE
}

# rig_started PID: the process is ours to end.
rig_started() { rig_pids+=("$1"); }

# rig_ended PID: it has ended and was waited for; its number may be somebody else's by now.
rig_ended() {
    local pid kept=()
    for pid in "${rig_pids[@]}"; do
        [ "$pid" = "$1" ] || kept+=("$pid")
    done
    rig_pids=(${kept[@]+"${kept[@]}"})
}

# rig_stop PID [SIGNAL]: asks the process to end, waits, and kills it if it does not listen.
rig_stop() {
    local pid=$1
    kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
    # tail ends when the process does, or by timeout.
    timeout 20 tail -s 0.05 --pid="$pid" -f /dev/null || kill -s KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    rig_ended "$pid"
}

rig_close() {
    local code=$? i
    trap - EXIT
    trap '' INT TERM HUP PIPE
    if declare -F rig_on_exit >/dev/null; then
        rig_on_exit "$code" || true
    fi
    # The last started first.
    for ((i = ${#rig_pids[@]} - 1; i >= 0; i--)); do
        rig_stop "${rig_pids[i]}"
    done
    [ -z "$RIG" ] || rm -rf "$RIG"
    exit "$code"
}

# rig_logs LINES: the ends of the logs, for somebody who has to find out what went wrong.
rig_logs() {
    local log
    for log in "$RIG"/log/*; do
        [ -s "$log" ] || continue
        say "--- $(basename "$log")"
        tail -n "$1" "$log" >&2
    done
}

# await_line FILE PID REGEX: waits until a line of FILE, which process PID writes, matches; prints the
# line. Fails when the process has ended without, or after $RIG_PATIENCE seconds.
await_line() {
    local file=$1 pid=$2 regex=$3 lines tail_pid line status=0
    exec {lines}< <(exec timeout "$RIG_PATIENCE" tail -s 0.05 --pid="$pid" -n +1 -F "$file" 2>/dev/null)
    tail_pid=$!
    line=$(grep -m1 -E -e "$regex" <&"$lines") || status=1
    exec {lines}<&-
    kill "$tail_pid" 2>/dev/null || true
    wait "$tail_pid" 2>/dev/null || true
    if [ "$status" = 0 ]; then
        printf '%s\n' "$line"
    elif kill -0 "$pid" 2>/dev/null; then
        say "no line matching '$regex' came in $(basename "$file") within $RIG_PATIENCE s"
    else
        say "process $pid ended before a line matching '$regex' came in $(basename "$file")"
    fi
    return "$status"
}

# ---- epmd --------------------------------------------------------------------------------------

# The user's epmd, if there is one, is left alone, and ours does not stay behind.
epmd_start() {
    local try
    for try in 1 2 3 4 5; do
        # A port that was free a moment ago; should somebody take it first, epmd ends and we try another.
        ERL_EPMD_PORT=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        export ERL_EPMD_PORT
        # Twice -d says when it listens.
        epmd -d -d -address 127.0.0.1 -port "$ERL_EPMD_PORT" >"$RIG/epmd.log" 2>&1 &
        EPMD_PID=$!
        rig_started "$EPMD_PID"
        if await_line "$RIG/epmd.log" "$EPMD_PID" 'entering the main select' >/dev/null; then
            return 0
        fi
        say "epmd did not start on port $ERL_EPMD_PORT (try $try)"
        rig_stop "$EPMD_PID"
    done
    return 1
}

# ---- MariaDB -----------------------------------------------------------------------------------

# mariadb_start: a server of our own, on a Unix socket alone, with a database `shop` and users without
# passwords that may do anything (the socket lies in our directory). A MariaDB that the machine runs is not touched.
mariadb_start() {
    local data=$RIG/mariadb as=()
    MARIADB_SOCKET=$RIG/mariadb/sock
    mkdir -p "$data"
    if [ "$(id -u)" = 0 ]; then
        # mariadbd does not run as root unless told to.
        if id -u mysql >/dev/null 2>&1; then
            as=(--user=mysql)
            chown mysql "$data"
        else
            as=(--user=root)
        fi
    fi
    if ! mariadb-install-db --no-defaults ${as[@]+"${as[@]}"} --datadir="$data/data" --skip-test-db \
        --auth-root-authentication-method=normal --innodb-log-file-size=8M >"$RIG/log/mariadb-install.log" 2>&1; then
        tail -n 20 "$RIG/log/mariadb-install.log" >&2
        say "mariadb-install-db failed"
        return 1
    fi
    rm "$RIG/log/mariadb-install.log"
    mariadb_run
    mariadb --no-defaults -S "$MARIADB_SOCKET" -u root <<'SQL'
CREATE DATABASE shop;
USE shop;
CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(40) NOT NULL, cents INT NOT NULL,
                     KEY (customer)) ENGINE=InnoDB;
CREATE TABLE blobs (id INT PRIMARY KEY, b LONGBLOB NOT NULL) ENGINE=InnoDB;
SQL
}

# mariadb_run: starts the server on the data directory that there is.
mariadb_run() {
    local data=$RIG/mariadb as=()
    [ "$(id -u)" != 0 ] || as=(--user="$(stat -c %U "$data/data")")
    mariadbd --no-defaults ${as[@]+"${as[@]}"} --datadir="$data/data" --socket="$MARIADB_SOCKET" \
        --pid-file="$data/pid" --skip-networking --skip-name-resolve --innodb-log-file-size=8M \
        --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --max-allowed-packet=64M \
        --max-connections=200 >"$RIG/log/mariadb.log" 2>&1 &
    MARIADB_PID=$!
    rig_started "$MARIADB_PID"
    await_line "$RIG/log/mariadb.log" "$MARIADB_PID" 'ready for connections' >/dev/null
}

mariadb_stop() {
    rig_stop "$MARIADB_PID"
}

# mariadb_user NAME...: users who may log in without a password, from anywhere.
mariadb_user() {
    local name
    for name in "$@"; do
        printf "CREATE USER '%s'@'%%'; GRANT ALL ON *.* TO '%s'@'%%';\n" "$name" "$name"
    done | mariadb --no-defaults -S "$MARIADB_SOCKET" -u root
}

# ---- the proxy ---------------------------------------------------------------------------------

proxy_build() {
    escript "$PROXY_SOURCE/build.escript" "$1"
}

# proxy_install DIR ROOT: a target system, see OTP's "Creating and Upgrading a Target System". Without
# RELEASES and start_erl.data below its own root, release_handler would work on the releases of the
# OTP installation.
proxy_install() {
    local dir=$1 root=$2 erts
    mkdir -p "$root"
    tar -xzf "$dir/1.0/ump_proxy-1.0.tar.gz" -C "$root"
    erts=$(basename "$root"/erts-*)
    mkdir -p "$root/bin"
    # Not every package of Erlang has it as a source to be filled in; this one takes all it needs as arguments.
    cp "$root/$erts/bin/start_erl" "$root/bin/start_erl"
    chmod +x "$root/bin/start_erl"
    printf '%s %s\n' "${erts#erts-}" 1.0 >"$root/releases/start_erl.data"
    erl -noinput -boot start_clean -eval '
        [Root] = init:get_plain_arguments(),
        Releases = filename:join(Root, "releases"),
        ok = release_handler:create_RELEASES(Root, Releases, filename:join(Releases, "ump_proxy-1.0.rel"), []),
        halt().' -extra "$root" >&2
    cp "$dir/1.1/ump_proxy-1.1.tar.gz" "$root/releases/"
}

# proxy_start ROOT: takes MySQL clients on 127.0.0.1:$PROXY_PORT, with $MARIADB_SOCKET behind it.
proxy_start() {
    local root=$1 line
    PROXY_NODE=ump_proxy_$$@127.0.0.1
    PROXY_LOG=$RIG/log/proxy.log
    # +Bi: an interrupt typed at the script's terminal reaches the node too, and is not for it.
    cat >"$root/releases/vm.args" <<ARGS
-mode embedded
-noinput
+Bi
-name $PROXY_NODE
-ump_proxy backend {local,\"$MARIADB_SOCKET\"}
ARGS
    # start_erl becomes the emulator, so the pid is the node's.
    ERL_CRASH_DUMP=$RIG/log/erl_crash.dump ERL_CRASH_DUMP_BYTES=100000 \
        "$root/bin/start_erl" "$root" "$root/releases" "$root/releases/start_erl.data" \
        -args_file "$root/releases/vm.args" >"$PROXY_LOG" 2>&1 &
    PROXY_PID=$!
    rig_started "$PROXY_PID"
    line=$(await_line "$PROXY_LOG" "$PROXY_PID" 'ump_proxy listens on') || return 1
    PROXY_PORT=${line##*:}
    PROXY_CLIENT=(mariadb --no-defaults -h 127.0.0.1 -P "$PROXY_PORT" --batch --skip-column-names
        --max-allowed-packet=64M)
}

# proxy_eval EXPRESSIONS: erl_call's own answer is "{ok, Value}" without a newline.
proxy_eval() {
    local answer
    answer=$(timeout --foreground "$RIG_PATIENCE" erl_call -n "$PROXY_NODE" -e <<<"$1")
    case "$answer" in
    '{ok, '*'}')
        answer=${answer#'{ok, '}
        printf '%s\n' "${answer%'}'}"
        ;;
    *)
        say "in the proxy: $1"
        say "gives: $answer"
        return 1
        ;;
    esac
}

# proxy_match PATTERN EXPRESSION: both Erlang; fails when the value does not match.
proxy_match() {
    proxy_eval "$1 = begin $2 end, ok." >/dev/null
}

# proxy_session USER: the pids of the user's session, as $SESSION and $SERVER in the form <0.1.0>.
proxy_session() {
    local pids
    pids=$(proxy_eval "
        #{session := Session, server := Server} = ump_proxy:session_of(<<\"$1\">>),
        lists:flatten(io_lib:format(\"~p ~p\", [Session, Server])).") || return 1
    pids=${pids//\"/}
    SESSION=${pids% *}
    SERVER=${pids#* }
}

# proxy_await_end PID...: the processes have ended.
proxy_await_end() {
    local pid list=
    for pid in "$@"; do
        list+="${list:+, }list_to_pid(\"$pid\")"
    done
    proxy_match ok "ump_proxy:await_end([$list], $RIG_PATIENCE * 1000)"
}

# The upgrade in its two steps. 1.1 is loaded by the first: calls from then on run in it. The second
# purges 1.0, and so kills who still runs it.
proxy_upgrade_install() {
    proxy_match '{ok, "1.1"}' 'release_handler:unpack_release("ump_proxy-1.1")' &&
        proxy_match '{ok, "1.0", _}' 'release_handler:install_release("1.1")'
}

proxy_upgrade_make_permanent() {
    proxy_match ok 'release_handler:make_permanent("1.1")'
}

proxy_stop() {
    proxy_eval 'init:stop().' >/dev/null || true
    rig_stop "$PROXY_PID"
}

# ---- MySQL clients on the proxy ----------------------------------------------------------------

# server_sql [OPTION...]: asks the server itself, past the proxy.
server_sql() {
    mariadb --no-defaults -S "$MARIADB_SOCKET" -u root --batch --skip-column-names "$@"
}

# busy_start USER: a client, $BUSY_PID, whose session has a command in flight when this returns. The
# command itself says so: it releases a lock that the server lets us wait for. What the client prints
# goes to $RIG/USER.out.
busy_start() {
    local lock="busy-$1" fifo="$RIG/$1.in" got
    mkfifo "$fifo"
    "${PROXY_CLIENT[@]}" -u "$1" --unbuffered <"$fifo" >"$RIG/$1.out" 2>&1 &
    BUSY_PID=$!
    rig_started "$BUSY_PID"
    exec {BUSY_IN}>"$fifo"
    rm "$fifo"
    printf "SELECT 'locked', GET_LOCK('%s', 0);\n" "$lock" >&"$BUSY_IN"
    await_line "$RIG/$1.out" "$BUSY_PID" '^locked' >/dev/null || return 1
    # Longer than any run: only a client that loses its connection ends.
    printf "SELECT RELEASE_LOCK('%s'), SLEEP(86400);\n" "$lock" >&"$BUSY_IN"
    got=$(server_sql -e "SELECT GET_LOCK('$lock', $RIG_PATIENCE)") || return 1
    [ "$got" = 1 ] || { say "$1's command did not reach the server"; return 1; }
}

# idle_start USER: a client, $IDLE_PID, that has got an answer and waits for what is written to the file
# descriptor $IDLE_IN. What it prints goes to $RIG/USER.out.
idle_start() {
    local fifo="$RIG/$1.in"
    mkfifo "$fifo"
    "${PROXY_CLIENT[@]}" -u "$1" --unbuffered <"$fifo" >"$RIG/$1.out" 2>&1 &
    IDLE_PID=$!
    rig_started "$IDLE_PID"
    exec {IDLE_IN}>"$fifo"
    rm "$fifo"
    printf "SELECT 'idle', CONNECTION_ID();\n" >&"$IDLE_IN"
    await_line "$RIG/$1.out" "$IDLE_PID" '^idle' >/dev/null
}

steady_users=()
steady_pids=()

# steady_start USER...: clients that never stop and check every answer, see steady_client.py.
steady_start() {
    local user i
    for user in "$@"; do
        "$PROXY_SOURCE/steady_client.py" "$PROXY_PORT" "$user" "$RIG/$user.progress" >"$RIG/log/$user.log" 2>&1 &
        rig_started $!
        steady_users+=("$user")
        steady_pids+=($!)
    done
    for i in "${!steady_users[@]}"; do
        await_line "$RIG/${steady_users[i]}.progress" "${steady_pids[i]}" '^1 ' >/dev/null || return 1
    done
}

# steady_turn [N]: returns when every steady client has begun and ended N turns since, one if not given. A
# turn takes 5 ms at least.
steady_turn() {
    local i user turn more=${1:-1}
    for i in "${!steady_users[@]}"; do
        user=${steady_users[i]}
        turn=$(tail -n 1 "$RIG/$user.progress" | cut -d ' ' -f 1)
        # The next turn may have begun already, the one after it has not.
        if ! await_line "$RIG/$user.progress" "${steady_pids[i]}" "^$((turn + more + 1)) " >/dev/null; then
            cat "$RIG/log/$user.log" >&2
            return 1
        fi
    done
}

# steady_end: ends the steady clients; prints what each has to say. Fails if one got a wrong answer.
steady_end() {
    local i status failed=0
    for i in "${!steady_users[@]}"; do
        kill -TERM "${steady_pids[i]}" 2>/dev/null || true
        status=0
        wait "${steady_pids[i]}" || status=$?
        rig_ended "${steady_pids[i]}"
        cat "$RIG/log/${steady_users[i]}.log"
        [ "$status" = 0 ] || failed=1
    done
    steady_users=() steady_pids=()
    return "$failed"
}
