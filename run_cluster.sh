#!/usr/bin/env bash
# A cluster on this machine: one etcd and N brokers, each with a folder for its data, log and pid.
#
#   ./run_cluster.sh [N]         starts N brokers (3) and stays; Ctrl-C stops everything
#   ./run_cluster.sh start [N]   the same in the background
#   ./run_cluster.sh status      the processes, and who holds what
#   ./run_cluster.sh kill I      kills broker I with SIGKILL, as a crash would
#   ./run_cluster.sh restart I   stops broker I if it runs, and starts it
#   ./run_cluster.sh logs I      the log of broker I as it grows
#   ./run_cluster.sh stop        stops everything; the data stays
#
# From the environment:
#   MSGQUEUE_CLUSTER_DIR  the folder of it all                            (./msgqueue-cluster)
#   BASE_PORT             clients of broker I: BASE_PORT + 10 * (I - 1);
#                         subscribers, one above; the other brokers, two;
#                         raw publishers, three                           (5570)
#   ETCD_PORT             where etcd listens                              (a free port)
#   ETCD_ENDPOINTS        URLs of an etcd that runs already; else one is started
#   MSGQUEUE_CLUSTER      the cluster's name                              (local)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${MSGQUEUE_CLUSTER_DIR:-$PWD/msgqueue-cluster}
[[ $dir == /* ]] || dir=$PWD/$dir
# It is no setting of the broker, which reports the variables that it does not know.
export -n MSGQUEUE_CLUSTER_DIR
stop_seconds=30
ready_seconds=60

say() { echo "run_cluster: $*"; }
fail() {
    echo "run_cluster: $*" >&2
    exit 1
}

admin() { "$root/.venv/bin/msgqueue" cluster "$@"; } # COMMAND ARGS...

# --- Processes.  A NAME is b1, b2 ... or etcd, and has the folder $dir/NAME.

# In a process group of its own, because Ctrl-C is for this script alone.
launch() { # NAME COMMAND...
    local name=$1
    shift
    set -m
    "$@" >>"$dir/$name/log" 2>&1 </dev/null &
    set +m
    echo $! >"$dir/$name/pid"
    disown
}

# Prints the pid of NAME if it runs.  Another process may have been given that pid since:
# ours names its folder on its command line.
pid_of() { # NAME
    local pid command
    pid=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
    if [ -d /proc/self ]; then
        command=$(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") || return 1
    else
        command=$(ps -ww -p "$pid" -o command=) || return 1
    fi
    [[ $command == *"$dir/$1/data"* ]] && echo "$pid"
}

send() { # SIGNAL NAME
    local pid
    if pid=$(pid_of "$2"); then kill "-$1" "$pid" 2>/dev/null || true; fi
}

await_end() { # NAME
    local deadline=$((SECONDS + stop_seconds))
    while pid_of "$1" >/dev/null; do
        if ((SECONDS >= deadline)); then
            say "$1 has not ended within $stop_seconds s and is killed"
            send KILL "$1"
        fi
        sleep 0.1
    done
}

# Those that were started here once, in order.
brokers() {
    local number=1
    while [ -d "$dir/b$number" ]; do
        echo "b$number"
        number=$((number + 1))
    done
}

is_anything_running() {
    local name
    for name in $(brokers) etcd; do
        if pid_of "$name" >/dev/null; then return 0; fi
    done
    return 1
}

require_free() { # PORT VARIABLE
    if (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then
        fail "port $1 is in use: stop what listens there, or choose another with $2"
    fi
}

# --- etcd

# The one on the PATH, or Debian's, unpacked beside the data: nothing is installed.
find_etcd() {
    if command -v etcd; then return; fi
    local package=$dir/etcd/package
    if [ ! -x "$package/usr/bin/etcd" ]; then
        command -v apt-get dpkg-deb >/dev/null ||
            fail "etcd is not on the PATH: install it, or name a running one with ETCD_ENDPOINTS"
        say "etcd is not on the PATH: fetching Debian's package into $package" >&2
        mkdir -p "$package"
        if [ "$(id -u)" -eq 0 ]; then apt-get update -qq >&2; fi
        (cd "$package" && apt-get download -qq -o APT::Sandbox::User=root etcd-server >&2 &&
            dpkg-deb -x ./*.deb .) ||
            fail "the package cannot be had: install etcd, or name a running one with ETCD_ENDPOINTS"
    fi
    echo "$package/usr/bin/etcd"
}

free_port() {
    "$root/.venv/bin/python" -c \
        'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'
}

# It may listen a while before it answers.  A cluster that nobody made yet is an answer, too.
does_etcd_answer() {
    admin info >/dev/null 2>"$dir/waiting" || ! grep -q coordinator_unreachable "$dir/waiting"
}

start_etcd() {
    if pid_of etcd >/dev/null; then return; fi
    local program port=${endpoints##*:} peers
    require_free "$port" ETCD_PORT
    mkdir -p "$dir/etcd"
    program=$(find_etcd)
    peers=http://127.0.0.1:$(free_port)
    launch etcd "$program" --name etcd --data-dir "$dir/etcd/data" \
        --listen-client-urls "$endpoints" --advertise-client-urls "$endpoints" \
        --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" \
        --initial-cluster "etcd=$peers"
    local pid=$! deadline=$((SECONDS + ready_seconds))
    until (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null && does_etcd_answer; do
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -n 3 "$dir/etcd/log" >&2
            fail "etcd has ended; its log is $dir/etcd/log"
        fi
        if ((SECONDS >= deadline)); then
            fail "etcd does not answer within $ready_seconds s; its log is $dir/etcd/log"
        fi
        sleep 0.1
    done
}

# --- Brokers

address_of() { echo "tcp://127.0.0.1:$((base_port + 10 * ($1 - 1) + $2))"; } # NUMBER OFFSET
clients_of() { address_of "$1" 0; }                                          # NUMBER

start_broker() { # NUMBER
    local name=b$1 clients channels links raw address
    if pid_of "$name" >/dev/null; then return; fi
    clients=$(clients_of "$1") channels=$(address_of "$1" 1)
    links=$(address_of "$1" 2) raw=$(address_of "$1" 3)
    for address in "$clients" "$channels" "$links" "$raw"; do
        require_free "${address##*:}" BASE_PORT
    done
    mkdir -p "$dir/$name"
    launch "$name" "$root/.venv/bin/python" -m broker --data "$dir/$name/data" \
        --broker-id "$name" --listen "$clients" --links "$links" \
        --publish-listen "$channels" --raw-listen "$raw"
    started[$1]=$!
}

# Until COUNT brokers serve all slots; a started one that ends instead is shown with its log.
await_served() { # COUNT
    local number deadline=$((SECONDS + ready_seconds))
    until admin wait --brokers "$1" --timeout 1s >/dev/null 2>"$dir/waiting"; do
        for number in "${!started[@]}"; do
            if ! kill -0 "${started[$number]}" 2>/dev/null; then
                tail -n 3 "$dir/b$number/log" >&2
                fail "broker $number has ended; its log is $dir/b$number/log"
            fi
        done
        if ((SECONDS >= deadline)); then
            cat "$dir/waiting" >&2
            fail "the slots are not served within $ready_seconds s; the logs are $dir/b*/log"
        fi
    done
}

# --- Commands

# What a start has chosen holds for the commands after it.
load_settings() {
    [ -f "$dir/settings" ] || fail "no cluster was started in $dir"
    # shellcheck source=/dev/null
    . "$dir/settings"
    export MSGQUEUE_CLUSTER=$cluster MSGQUEUE_ETCD=$endpoints
}

choose_settings() {
    local cluster_given=${MSGQUEUE_CLUSTER:-}
    cluster=local base_port=5570 endpoints='' own_etcd=yes
    if [ -f "$dir/settings" ]; then load_settings; fi
    cluster=${cluster_given:-$cluster}
    base_port=${BASE_PORT:-$base_port}
    if [ -n "${ETCD_ENDPOINTS:-}" ]; then
        endpoints=$ETCD_ENDPOINTS own_etcd=no
    elif [ -n "${ETCD_PORT:-}" ]; then
        endpoints=http://127.0.0.1:$ETCD_PORT own_etcd=yes
    elif [ -z "$endpoints" ]; then
        endpoints=http://127.0.0.1:$(free_port)
    fi
    printf '%s=%q\n' cluster "$cluster" base_port "$base_port" \
        endpoints "$endpoints" own_etcd "$own_etcd" >"$dir/settings"
    load_settings
}

start() { # COUNT
    local number addresses=''
    [[ $1 =~ ^[1-9][0-9]?$ ]] || fail "$1 is not a number of brokers from 1 to 99"
    make -s -C "$root" .venv/.installed-cluster
    mkdir -p "$dir"
    choose_settings
    if [ "$own_etcd" = yes ]; then start_etcd; fi
    # A broker alone has no other to wait for.
    admin info >/dev/null 2>&1 || admin init --min-isr "$(($1 > 1 ? 2 : 1))"
    for ((number = 1; number <= $1; number++)); do
        start_broker "$number"
        addresses+=" or $(clients_of "$number")"
    done
    await_served "$1"
    say "ready: connect to ${addresses# or }"
    say "data and logs are in $dir"
}

stop() {
    local name
    for name in $(brokers); do send TERM "$name"; done
    for name in $(brokers); do await_end "$name"; done
    # The brokers' last words go to etcd, so it ends after them.
    send TERM etcd
    await_end etcd
}

run() { # COUNT: stays in front
    trap 'trap "" INT TERM; stop' EXIT
    trap 'say "stopping"; exit 0' INT TERM
    start "$1"
    say "Ctrl-C stops everything"
    while is_anything_running; do sleep 1; done
}

status() {
    local name pid
    for name in $(brokers) etcd; do
        if pid=$(pid_of "$name"); then
            echo "$name runs as process $pid"
        elif [ "$name" != etcd ] || [ "$own_etcd" = yes ]; then
            echo "$name does not run"
        fi
    done
    if is_anything_running; then
        echo
        admin info
    fi
}

restart() { # NUMBER
    local name running=0
    send TERM "b$1"
    await_end "b$1"
    start_broker "$1"
    for name in $(brokers); do
        if pid_of "$name" >/dev/null; then running=$((running + 1)); fi
    done
    await_served "$running"
}

require_broker() { # NUMBER
    [[ ${1:-} =~ ^[1-9][0-9]?$ && -d $dir/b$1 ]] || fail "no broker ${1:-} was started in $dir"
}

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "${BASH_SOURCE[0]}"; }

started=()
command=${1:-run}
case $command in
    [0-9]*) run "$command" ;;
    run) run "${2:-3}" ;;
    start) start "${2:-3}" ;;
    -h | --help | help) usage ;;
    status | stop | kill | restart | logs)
        load_settings
        case $command in
            status | stop) "$command" ;;
            *)
                require_broker "${2:-}"
                case $command in
                    kill) send KILL "b$2" ;;
                    restart) restart "$2" ;;
                    logs) exec tail -n 100 -F "$dir/b$2/log" ;;
                esac
                ;;
        esac
        ;;
    *)
        usage >&2
        exit 64
        ;;
esac
