# Databases and a bus of one's own, and patience with the network, for scripts that source this. Servers need `scratch`, a
# folder that is removed at the end, and `pids`, a list of processes to stop then.

# Fetching is no test: what fails for a moment is tried again.
patiently() {
  local tries
  for tries in 1 2 3 4; do
    "$@" && return
    echo "$1 $2 failed, trying again in $((tries * 10)) s" >&2
    sleep "$((tries * 10))"
  done
  "$@"
}

has() { command -v "$1" >/dev/null 2>&1; }

as_root() { if ((EUID == 0)); then "$@"; else sudo -n "$@"; fi; }

# Debian starts a service as soon as its package is installed; tests bring their own, so that is refused meanwhile.
apt_install() {
  local policy=/usr/sbin/policy-rc.d ours=no
  if [[ ! -e $policy ]]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
  fi
  local status=0
  patiently as_root apt-get update -qq && patiently as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" || status=$?
  [[ $ours = no ]] || as_root rm -f "$policy"
  return "$status"
}

postgres_dir() {
  local dir
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(command -v initdb || echo /none/initdb)")"; do
    if [[ -x $dir/initdb && -x $dir/postgres ]]; then echo "$dir"; return 0; fi
  done
  return 1
}

free_port() {
  local port
  while port=$((20000 + RANDOM % 10000)); do
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# PostgreSQL refuses to run as root, so root hands it to the account its package made.
start_postgres() {
  local bin port data=$scratch/postgres drop=()
  bin=$(postgres_dir)
  port=$(free_port)
  mkdir -m 700 "$data"
  if ((EUID == 0)); then
    local account=postgres
    id "$account" >/dev/null 2>&1 || account=nobody
    drop=(setpriv "--reuid=$account" "--regid=$(id -g "$account")" --clear-groups)
    chmod 711 "$scratch"
    chown "$account" "$data"
  fi
  (cd / && "${drop[@]}" "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --no-locale >"$scratch/initdb.log" 2>&1) || { cat "$scratch/initdb.log"; return 1; }
  (cd / && exec "${drop[@]}" "$bin/postgres" -D "$data" -p "$port" -k "$data" -c listen_addresses=127.0.0.1 -c max_connections=400) \
    >"$scratch/postgres.log" 2>&1 &
  pids+=($!)
  wait_for "PostgreSQL" "$scratch/postgres.log" "$bin/pg_isready" -q -h 127.0.0.1 -p "$port"
  export CARTLINK_TEST_POSTGRES=postgres://postgres@127.0.0.1:$port/postgres
}

start_nats() {
  local port
  port=$(free_port)
  nats-server -a 127.0.0.1 -p "$port" >"$scratch/nats.log" 2>&1 &
  pids+=($!)
  wait_for "NATS" "$scratch/nats.log" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null
  export CARTLINK_TEST_NATS=nats://127.0.0.1:$port
}

# wait_for WHAT LOG COMMAND…: until the command succeeds, two minutes at most.
wait_for() {
  local what=$1 log=$2 tries=0; shift 2
  until "$@" 2>/dev/null; do
    ((++tries < 1200)) || { echo "$what did not start:"; cat "$log"; return 1; }
    sleep 0.1
  done
}

# Stops what was started and removes its files.
stop_servers() {
  local pid
  for pid in "${pids[@]}"; do kill -INT "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
