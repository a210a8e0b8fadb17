-- The database user of kopano-server. Run once, as root, on the node that has the database.
-- SPDX-License-Identifier: GPL-2.0-or-later
--
-- The server reaches the database from its node's own address, also when both run on one node. The third
-- stands for floating addresses outside the network of eth0, where the kernel takes the database's own as
-- the sender. Only the database kopano, which the server makes by itself at its first start.
CREATE USER IF NOT EXISTS
    'kopano'@'192.168.122.25' IDENTIFIED BY 'CHANGE-ME',
    'kopano'@'192.168.122.26' IDENTIFIED BY 'CHANGE-ME',
    'kopano'@'192.168.122.101' IDENTIFIED BY 'CHANGE-ME';
GRANT ALL PRIVILEGES ON kopano.* TO
    'kopano'@'192.168.122.25',
    'kopano'@'192.168.122.26',
    'kopano'@'192.168.122.101';
