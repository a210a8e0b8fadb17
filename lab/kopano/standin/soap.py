# SPDX-License-Identifier: GPL-2.0-or-later
"""The envelope around the calls to kopano-server: rpc/encoded SOAP, namespace urn:zarafa.

Of Kopano's hundreds of calls there are ``logon``, ``getStore`` and ``logoff``, with their elements
and error numbers as measured. The calls whose names start with ``standin`` are invented: they carry
mail between the stand-in's processes, where the real ones use MAPI.
"""

from __future__ import annotations

import xml.etree.ElementTree
from typing import Dict, List, NamedTuple, Optional, Tuple
from xml.sax.saxutils import escape

NAMESPACE = "urn:zarafa"
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"

# Kopano's error numbers, as the element <er> carries them (in decimal).
OK = 0
NOT_FOUND = 0x80000002
CALL_FAILED = 0x80000005
DATABASE_ERROR = 0x80000007
LOGON_FAILED = 0x80000009
END_OF_SESSION = 0x80000010

Elements = List[Tuple[str, str]]


class Call(NamedTuple):
    """A call or its answer: the name of its element and its children's texts by name."""

    name: str
    elements: Dict[str, str]


def envelope(name: str, elements: Elements) -> bytes:
    """Return the document for one call or answer, the ``elements`` in the given order."""
    children = "".join(f"<{tag}>{escape(text)}</{tag}>" for tag, text in elements)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{_SOAP}" xmlns:SOAP-ENC="{_ENCODING}"'
        f' xmlns:ns="{NAMESPACE}"><SOAP-ENV:Body SOAP-ENV:encodingStyle="{_ENCODING}">'
        f"<ns:{name}>{children}</ns:{name}></SOAP-ENV:Body></SOAP-ENV:Envelope>"
    ).encode("utf-8")


def fault(text: str, code: str = "SOAP-ENV:Client") -> bytes:
    """Return the document that refuses a call."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{_SOAP}" xmlns:SOAP-ENC="{_ENCODING}"'
        f' xmlns:ns="{NAMESPACE}"><SOAP-ENV:Body><SOAP-ENV:Fault><faultcode>{code}</faultcode>'
        f"<faultstring>{escape(text)}</faultstring></SOAP-ENV:Fault></SOAP-ENV:Body>"
        "</SOAP-ENV:Envelope>"
    ).encode("utf-8")


def parse(document: bytes) -> Optional[Call]:
    """Return the call in ``document``, or None if it is no SOAP envelope of Kopano's."""
    try:
        root = xml.etree.ElementTree.fromstring(document)
    except xml.etree.ElementTree.ParseError:
        return None
    body = root.find(f"{{{_SOAP}}}Body")
    if body is None or len(body) == 0:
        return None
    namespace, _, name = body[0].tag.rpartition("}")
    if namespace != "{" + NAMESPACE:
        return None
    return Call(name, {child.tag.rpartition("}")[2]: child.text or "" for child in body[0]})
