#!/usr/bin/env bash
# Two hosts on one machine: network namespaces with a cable between them, to try a job of several hosts and to cut it.
#   sudo bash scripts/two_hosts.sh up
#   sudo bash scripts/two_hosts.sh run host-a mpirun --host 10.213.77.1,10.213.77.2 -n 2 python train.py -c RECIPE ...
#   sudo bash scripts/two_hosts.sh cut      (or mend)
#   sudo bash scripts/two_hosts.sh down
#
# The hosts are host-a, 10.213.77.1, and host-b, 10.213.77.2. They share files and processes with the machine, and have
# nothing but each other to talk to. `rsh` stands in for ssh, which mpirun would start on host-b. Needs root (or CAP_SYS_ADMIN) and Debian's iproute2.
set -euo pipefail
net=10.213.77
agent="bash $(realpath "$0") rsh"
export PRTE_MCA_plm_ssh_agent=$agent OMPI_MCA_plm_rsh_agent=$agent # of Open MPI 5, of Open MPI 4
names=(host-a host-b)

enter() { # HOST COMMAND...: become this command there, under a host name of its own
    local name=$1 && shift
    exec ip netns exec "$name" unshare --uts sh -c 'hostname "$0" && exec "$@"' "$name" "$@"
}

case ${1:-} in
    up)
        for number in 0 1; do ip netns add "${names[number]}"; done
        ip link add cable netns host-a type veth peer name cable netns host-b
        for number in 0 1; do
            ip -n "${names[number]}" address add "$net.$((number + 1))/24" dev cable
            for link in lo cable; do ip -n "${names[number]}" link set "$link" up; done
            # mpirun ends when its connection to the other host does, by default after a quarter of an hour of silence
            ip netns exec "${names[number]}" sh -c 'echo 5 >/proc/sys/net/ipv4/tcp_retries2'
        done
        ;;
    down) for name in "${names[@]}"; do ip netns delete "$name" 2>/dev/null || true; done ;;
    cut) ip -n host-b link set cable down ;;
    mend) ip -n host-b link set cable up ;;
    run) shift && enter "$@" ;;
    rsh) # as mpirun calls ssh: HOST COMMAND-LINE
        case $2 in "$net.1") name=host-a ;; "$net.2") name=host-b ;; *) name=$2 ;; esac
        shift 2 && enter "$name" sh -c "$*"
        ;;
    *) sed -n '2,9p' "$0" >&2 && exit 2 ;;
esac
