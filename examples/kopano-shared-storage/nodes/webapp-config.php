<?php
// /etc/kopano/webapp/config.php: the line that the cluster needs, on both nodes.
// SPDX-License-Identifier: GPL-2.0-or-later
//
// The floating address: WebApp runs on both nodes, Kopano on one.
define("DEFAULT_SERVER", "http://192.168.122.100:236/");
