# SPDX-License-Identifier: GPL-2.0-or-later
"""twonode: a real two-node Pacemaker cluster on one machine, without virtual machines.

A node is a process tree in namespaces of its own: its process 1 is systemd, its root is a Debian
with the distribution's own corosync and pacemaker units, its network cards are virtual, and its
disks are block devices. It has the host's kernel and nothing else of the host, and none of the
capabilities that could reach through to it.

Everything of a lab hangs on one process, the supervisor. Killing that is how a lab is taken down,
and why a lab that crashes leaves nothing running::

    launcher                        waits, and sweeps up
      supervisor                    holds bridges, power and timers; takes requests
        alice, bob: systemd         the nodes, each in a cgroup of the lab
        outside                     a machine beside the cluster: mail client, administrator
          ipmi_sim, sshd            one management controller per node: IPMI, and an iDRAC's shell

          LAN 198.51.100.0/24             .1 outside  .11 alice  .12 bob
          interconnect 203.0.113.0/24                 .11 alice  .12 bob
          management 192.0.2.0/24         .1 outside  .11 alice  .12 bob  .101 and .102 their BMCs

The modules, from the bottom up:

================  ================================================================================
linux             the system calls that Python does not offer
plan              what a lab looks like, its addresses, and where its files lie
aptsources        the package sources of the image, derived from those of the host
image             the root image: built once, shared by all nodes
rootfs            what a machine sees as its file systems
network           bridges and cables
loop              the shared disks
cgroup            a machine's cgroup
configuration     what a node's own disk says beyond the image
boot              what the first process of a machine does
enter             running a command in a machine
bare              a throwaway machine without a cluster and without the suite
layer             packages that only some machines need, installed once over the image
package           the suite's own package: built from the checkout, installed by dpkg
sandbox           a throwaway machine with the suite
pair              two of them with a cable between
bmc               what a management controller answers by IPMI
idrac             what it answers by SSH: the shell of an iDRAC
idracaccess       the SSH that leads into that shell
chassislog        who asked what of a node's power, and what became of it
events            the supervisor's loop: waits, and calls whom it concerns
power             the power of a node: on, off, reset, and what off promises
controllers       the management controllers as the supervisor runs them
launcher          making the supervisor and sweeping up after it
supervisor        the one process that a lab lives and dies with
lab               the lab as tests and the demonstration use it
evidence          what the machines have to say, for whoever looks into a failure
preflight         whether this host can run a lab
cli               the lab as the command line uses it
================  ================================================================================

A power loss is one: before a node is killed, its file systems on the shared disks are stopped dead,
journal and all, so that what was not synced is lost. Its own disk, an overlay directory, keeps
everything that was written; there the lab is kinder than a real machine.
"""
