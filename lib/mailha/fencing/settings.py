# SPDX-License-Identifier: GPL-2.0-or-later
"""The values of an agent's options in one call."""

from __future__ import annotations

from mailha.fencing.failures import WrongInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

    from mailha.fencing.deadline import Deadline
    from mailha.fencing.declaration import FenceAgent, Option


class Settings:
    """What has been given, and the defaults of the rest.

    nodename: the node that Pacemaker wants the action for; empty if nobody said it. problems: what
    is wrong with the values, one reason each. deadline: of the action, which a program that prints
    the password has to keep too; None for a few seconds. on_secret: called with every secret that
    is handed out, so that it can be kept out of all messages.
    """

    def __init__(self, agent: FenceAgent, texts: Mapping[str, str], *, nodename: str = "") -> None:
        """Read the values. texts: by the name of the option; others are not looked at."""
        self.nodename = nodename
        self.problems: list[str] = []
        self.deadline: Deadline | None = None
        self._agent = agent
        self._options = {option.name: option for option in agent.options}
        self._texts = {name: text for name, text in texts.items() if name in self._options}
        self._secrets: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self.on_secret: Callable[[str], None] = _ignore
        for option in agent.options:
            self._read(option)
        self._find_address()

    @classmethod
    def of(cls, agent: FenceAgent, nodename: str = "", **texts: str) -> Settings:
        """Return settings for an agent from keywords. Raises WrongInput."""
        settings = cls(agent, texts, nodename=nodename)
        settings.require()
        return settings

    def __getitem__(self, name: str) -> Any:
        """Return the value of an option: str, int, float, bool, or None if there is none.

        Raises KeyError for a name that the agent does not declare, and for a secret, which is
        never by accident in a message when it has to be asked for in another way.
        """
        return self._values[name]

    def is_set(self, name: str) -> bool:
        """Tell whether a value was given, so that it is not the default."""
        return name in self._texts

    def idle(self) -> list[str]:
        """Return for each option that was given and has no effect here what to say of it."""
        return [f"{option.name} has no effect: {option.idle}" for option in self._agent.options
                if option.idle and option.name in self._texts]

    def require(self) -> None:
        """Raise WrongInput, with all reasons, if a value cannot be right."""
        if self.problems:
            raise WrongInput("; ".join(self.problems))

    def secret(self, name: str) -> str:
        """Return a secret, empty if there is none; read when first asked for.

        password comes from password_script or password_file if one of them is set. Bytes that are
        no UTF-8 are kept: encode it with ("utf-8", "surrogateescape"). Raises FencingFailed.
        """
        if name not in self._secrets:
            found = self._find_secret(name)
            self.on_secret(found)
            self._secrets[name] = found
        return self._secrets[name]

    def known(self, name: str) -> str:
        """Return a secret if it was asked for already, empty if not; nothing is read."""
        return self._secrets.get(name, "")

    def given(self, name: str) -> str:
        """Return the text of a secret as far as it was given itself, empty if it was not."""
        return self._texts.get(name, "") if self._options[name].secret else ""

    def address(self) -> str:
        """Return where the controller is, for messages: the address, and the port if it is set."""
        place = self._values["ip"] or "(no address)"
        return f"{place} port {self._values['ipport']}" if self.is_set("ipport") else f"{place}"

    def _find_address(self) -> None:
        """Take plug for the address with port_as_ip; there must be one or the other."""
        option = self._options["ip"]
        if self._values["port_as_ip"] and self._texts.get("plug"):
            self._texts["ip"] = self._texts["plug"]
            self.problems = [problem for problem in self.problems
                             if not problem.startswith("option ip:")]
            self._read(option)
        if "ip" not in self._texts and not any(problem.startswith("option ip:")
                                               for problem in self.problems):
            self.problems.append("option ip: it is not set, where the address of the node's "
                                 "controller is expected")

    def _find_secret(self, name: str) -> str:
        if not self._options[name].secret:
            raise KeyError(name)
        if name == "password":
            from mailha.fencing import secrets
            if self._values["password_script"]:
                return secrets.from_program(self._values["password_script"], self.deadline)
            if self._values["password_file"]:
                return secrets.from_file(self._values["password_file"])
        return self._texts.get(name, "")

    def _read(self, option: Option) -> None:
        """Read the value of an option; what is wrong with it goes to the problems."""
        from mailha.fencing import values
        text = self._texts.get(option.name, option.default)
        if option.name in self._texts and not self._texts[option.name]:
            if not option.empty:
                self.problems.append(f"option {option.name}: it is given without a value")
            text = None if option.secret else option.default
            if not option.secret:
                del self._texts[option.name]
        if option.secret:
            self._check_secret(option, text)
            return
        self._values[option.name] = None
        if text is not None:
            try:
                self._values[option.name] = values.parse(option, text)
            except values.Invalid as error:
                self.problems.append(f"option {option.name}: {error}")
        elif option.kind == "boolean":
            self._values[option.name] = False

    def _check_secret(self, option: Option, text: str | None) -> None:
        """Look for what is wrong with a secret; the reason never has its value in it."""
        from mailha.fencing import values
        if text is None:
            return
        if "\0" in text or "\n" in text:
            self.problems.append(f"option {option.name}: it has a line break or a NUL in it (the "
                                 "value is not shown)")
        elif option.check is not None:
            try:
                option.check(text)
            except values.Invalid as error:
                self.problems.append(f"option {option.name}: {error}")


def _ignore(secret: str) -> None:
    """Do nothing."""
