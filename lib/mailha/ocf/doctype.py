# SPDX-License-Identifier: GPL-2.0-or-later
"""The document type of OCF 1.1 meta-data.

No reader in a cluster needs one. ocf-tester does: it validates with "xmllint --valid", which fails
for any document without a document type. The one that it offers, ra-api-1.dtd, is that of OCF 1.0
and knows neither select, reload-agent, unique-group nor reloadable, so that agents written for 1.1
fail there, Pacemaker's own included. Hence the meta-data bring a document type of their own. It
states no default values: whoever reads the document finds in it what it would find without.
"""

from __future__ import annotations

DOCTYPE = b"""<!DOCTYPE resource-agent [
<!ELEMENT resource-agent (version, longdesc, shortdesc, parameters, actions)>
<!ATTLIST resource-agent name CDATA #REQUIRED version CDATA #IMPLIED>
<!ELEMENT version (#PCDATA)>
<!ELEMENT longdesc (#PCDATA)>
<!ATTLIST longdesc lang NMTOKEN #REQUIRED>
<!ELEMENT shortdesc (#PCDATA)>
<!ATTLIST shortdesc lang NMTOKEN #REQUIRED>
<!ELEMENT parameters (parameter+)>
<!ELEMENT parameter (longdesc, shortdesc, content)>
<!ATTLIST parameter name NMTOKEN #REQUIRED required (0|1) #REQUIRED
          unique-group CDATA #IMPLIED reloadable (0|1) #IMPLIED>
<!ELEMENT content (option*)>
<!ATTLIST content type (boolean|string|integer|select) #REQUIRED default CDATA #IMPLIED>
<!ELEMENT option EMPTY>
<!ATTLIST option value CDATA #REQUIRED>
<!ELEMENT actions (action+)>
<!ELEMENT action EMPTY>
<!ATTLIST action name NMTOKEN #REQUIRED timeout CDATA #REQUIRED interval CDATA #IMPLIED
          depth CDATA #IMPLIED>
]>
"""
