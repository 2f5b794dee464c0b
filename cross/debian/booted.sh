#!/bin/sh
# Tries the packages under a real systemd: boots a minimal Debian from a folder in a container, installs them there, and looks at
# what the units promise. For those who change units or packages; it takes some minutes.
#
#   sudo apt-get install debootstrap systemd-container
#   cargo xtask deb amd64
#   sudo cross/debian/booted.sh FOLDER target/deb/pyralog-agent_*_amd64.deb target/deb/pyralog-hub_*_amd64.deb
#
# FOLDER is made if it is not there; a second run takes it as it is. Exit: 0 all held, 1 something did not.
set -eu

[ $# -eq 3 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "booting a container needs root: run it with sudo" >&2; exit 2; }
for program in debootstrap systemd-nspawn nsenter; do
	command -v "$program" >/dev/null || { echo "$program is not installed: apt-get install debootstrap systemd-container util-linux" >&2; exit 2; }
done
root=$1 agent=$2 hub=$3

if [ ! -d "$root/etc" ]; then
	echo "making a minimal Debian in $root"
	debootstrap --variant=minbase --include=systemd,systemd-sysv,curl bookworm "$root" >"$root.log" || { cat "$root.log" >&2; exit 1; }
fi
cp "$agent" "$root/root/agent.deb"
cp "$hub" "$root/root/hub.deb"

systemd-nspawn --quiet --directory "$root" --boot --register=no --keep-unit --private-network --console=pipe </dev/null >/dev/null 2>&1 &
container=$!
trap 'kill "$container" 2>/dev/null; wait "$container" 2>/dev/null' EXIT
failed=0

# The first process in there: the child of nspawn, which is systemd once it has begun.
init=
for _ in $(seq 100); do
	init=$(cat "/proc/$container/task/$container/children" 2>/dev/null | tr -d ' ') || true
	[ -n "$init" ] && [ "$(cat "/proc/$init/comm" 2>/dev/null)" = systemd ] && break
	sleep 0.2
done
[ -n "$init" ] || { echo "the container did not start" >&2; exit 1; }
within() { nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup "$@"; }

# Tries a command until it succeeds: says what was to be true, and whether it came true within SECONDS.
holds() {
	what=$1 seconds=$2
	shift 2
	for _ in $(seq "$seconds"); do
		if "$@" >/dev/null 2>&1; then
			echo "ok    $what"
			return
		fi
		sleep 1
	done
	echo "FAILS $what"
	failed=1
}
shell() { within sh -c "$1"; }
status() { shell "systemctl show --property StatusText --value pyralog-agent | grep -q '$1'"; }
pid() { within systemctl show --property MainPID --value pyralog-agent; }

holds "the system runs" 60 shell 'test "$(systemctl is-system-running)" = running'
within dpkg --install /root/hub.deb /root/agent.deb >/dev/null
holds "both services run when they are installed" 30 within systemctl is-active pyralog-agent pyralog-hub
shell "sed -i 's|^#= upstream = .*|upstream = \"http://127.0.0.1:7390\"|; s|^interval = \"60s\"|interval = \"1s\"|' /etc/pyralog/agent.toml"
within systemctl restart pyralog-agent
shell "curl --silent --fail --data 'climate temp=21.5' http://127.0.0.1:7380/write"
holds "a record comes through to the hub" 30 shell 'pyralog-agent status --json | grep -q "\"climate\":{\"accepted\":1,\"committed\":1"'
holds "systemctl status shows the account" 30 status 'records accepted, 0 pending'

shell 'cp /etc/pyralog/agent.toml /root/good.toml; echo "bogus = 1" >>/etc/pyralog/agent.toml'
before=$(pid)
within systemctl reload pyralog-agent
holds "a mistake that is reloaded changes nothing" 5 test "$(pid)" = "$before"
within systemctl restart pyralog-agent 2>/dev/null || true
holds "a mistake at the start is one line of systemctl status" 10 status 'agent.toml:[0-9]*: .*bogus'
sleep 7
holds "and is not tried again and again" 1 shell 'test "$(systemctl show --property NRestarts --value pyralog-agent)" = 0'
shell 'cp /root/good.toml /etc/pyralog/agent.toml'
within systemctl restart pyralog-agent
holds "mended, it runs" 10 within systemctl is-active pyralog-agent

before=$(pid)
within kill -KILL "$before"
holds "a killed agent is started again" 30 shell "systemctl is-active pyralog-agent && test \$(systemctl show --property MainPID --value pyralog-agent) != $before"
before=$(pid)
within kill -STOP "$before"
holds "a stuck agent is found out by the watchdog and started again" 150 \
	shell "systemctl is-active pyralog-agent && test \$(systemctl show --property MainPID --value pyralog-agent) != $before"

within dpkg --purge pyralog-agent pyralog-hub >/dev/null 2>&1
holds "purged, nothing is left of it" 5 shell 'test -z "$(ls -d /etc/pyralog /var/lib/pyralog* /var/lib/private/pyralog* /usr/bin/pyralog* 2>/dev/null)"'
holds "and no unit has failed" 5 shell 'test -z "$(systemctl --failed --quiet --plain --no-legend)"'
[ "$failed" -eq 0 ] && echo "all held"
exit "$failed"
