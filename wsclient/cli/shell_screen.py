"""The terminal of the shell: an input line that is always the last line, with everything else above it.

One ``prompt_toolkit`` application runs from the beginning of the shell to its end. During this time, ``sys.stdout`` and
``sys.stderr`` are replaced. The texts that threads print are collected for a moment. Then the event loop of the
application removes the input line from the screen, writes the texts, and draws the input line again. The terminal stays
in raw mode meanwhile, so no key is lost that the user presses then.
"""

from __future__ import annotations

import contextlib
import io
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import History
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import ColorDepth, create_output
from prompt_toolkit.validation import ValidationError, Validator

from .._typing import Self
from .shell_commands import COMMANDS, QUIT, prepared
from .shell_input import Input, InputError, SlashCommand, is_open, parse_all
from .vocabulary import Vocabulary

__all__ = ["Screen"]

_PAUSE: Final = 0.03
"""Seconds for which texts are collected before they are shown together: the input is drawn at most 30 times a
second."""

_MOST_TEXTS: Final = 2000
"""Texts that may wait to be shown. A thread that prints more waits until the terminal has accepted some."""

_REFRESH: Final = 0.5
"""Seconds after which the state in the prompt is drawn again."""

_HINT: Final = "* Ctrl-D or /quit ends the shell; /help shows what can be typed.\n"


class Screen:
    """The terminal, as a context manager; ``run`` is called inside.

    Args:
        status: returns the prompt, as fragments of style and text; called on the main thread.
        perform: gets what was typed, on the main thread; must return at once.
        vocabulary: completes names and keys.
        history: stores what was typed.
        has_color: whether to use colours.
    """

    def __init__(
        self,
        status: Callable[[], StyleAndTextTuples],
        perform: Callable[[Input], object],
        vocabulary: Vocabulary,
        history: History,
        *,
        has_color: bool,
    ) -> None:
        self._perform = perform
        self._texts: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._is_scheduled = False
        self._is_stopping = False
        self._loop: Any = None  # of the application, while it runs
        self._thread = threading.get_ident()
        self._stack = contextlib.ExitStack()
        self._session: PromptSession[str] = PromptSession(
            status,
            multiline=True,
            prompt_continuation=_continuation,
            history=history,
            completer=_Completer(vocabulary),
            complete_while_typing=False,
            validator=_Checker(),
            validate_while_typing=False,
            key_bindings=self._keys(),
            refresh_interval=_REFRESH,
            erase_when_done=True,
            color_depth=None if has_color else ColorDepth.DEPTH_1_BIT,
            output=create_output(always_prefer_tty=True),  # stderr, if messages go to a file
        )
        self._session.default_buffer.accept_handler = self._accept

    def __enter__(self) -> Self:
        writer: Any = _Writer(self)
        if sys.stdout.isatty():
            self._stack.enter_context(contextlib.redirect_stdout(writer))
        if sys.stderr.isatty():
            self._stack.enter_context(contextlib.redirect_stderr(writer))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()
        self._write_all("\n")

    def run(self) -> None:
        """Show the input line, until the user or ``stop`` ends it."""
        try:
            self._session.prompt(pre_run=self._begin)
        except EOFError:  # Ctrl-D
            pass
        finally:
            self._loop = None

    def stop(self) -> None:
        """End ``run``; any thread may call it, also before ``run``."""
        self._is_stopping = True
        self._in_loop(self._exit)

    def write(self, text: str) -> None:
        """Show a text above the input line. Any thread may call it; it waits if the terminal is slow."""
        self._texts.put(text)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._in_loop(self._schedule)
        if threading.get_ident() != self._thread:
            while self._texts.qsize() > _MOST_TEXTS and self._loop is not None:
                time.sleep(_PAUSE)

    # --- in the event loop -------------------------------------------------------------------------------------------

    def _in_loop(self, function: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the application has just ended; `__exit__` writes the rest
                loop.call_soon_threadsafe(function)

    def _begin(self) -> None:
        self._loop = self._session.app.loop
        self._flush()
        if self._is_stopping:
            self._in_loop(self._exit)

    def _schedule(self) -> None:
        self._loop.call_later(_PAUSE, self._flush)

    def _exit(self) -> None:
        app = self._session.app
        if app.is_running and not app.is_done:
            app.exit()

    def _flush(self) -> None:
        app = self._session.app
        self._is_scheduled = False
        if self._texts.empty() or not app.is_running or app.is_done:
            return
        app.renderer.erase()
        self._write_all("\r\n")  # the terminal is in raw mode
        app.renderer.request_absolute_cursor_position()
        app.invalidate()

    def _write_all(self, line_end: str) -> None:
        texts = []
        with contextlib.suppress(queue.Empty):
            while True:
                texts.append(self._texts.get_nowait())
        if texts:
            output = self._session.output
            output.write_raw("".join(texts).replace("\n", line_end))
            output.flush()

    def _accept(self, buffer: Buffer) -> bool:
        if buffer.text.strip():
            for given in parse_all(buffer.text):
                if isinstance(given, SlashCommand) and given.name == QUIT:
                    self._exit()
                    break
                self._perform(given)
        return False  # the line becomes empty

    # --- keys --------------------------------------------------------------------------------------------------------

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)
        keys.add("enter", filter=typing)(_enter)
        keys.add("escape", "enter", filter=typing)(_break_line)
        keys.add("c-c", filter=typing)(self._clear)
        keys.add("<sigint>")(self._clear)
        return keys

    def _clear(self, event: KeyPressEvent) -> None:
        buffer = self._session.default_buffer
        if not buffer.text:
            self.write(_HINT)
        buffer.reset()


def _continuation(width: int, line: int, wrapped: int) -> str:
    """Return the beginning of each line after the first. It is empty for the rest of a wrapped line, so that a copy of
    the line from the terminal has no additional spaces.
    """
    return "" if wrapped else "  "


def _enter(event: KeyPressEvent) -> None:
    buffer = event.current_buffer
    if is_open(buffer.text):
        buffer.newline(copy_margin=True)
    else:
        buffer.validate_and_handle()


def _break_line(event: KeyPressEvent) -> None:
    event.current_buffer.newline()


class _Writer(io.TextIOBase):
    """``sys.stdout`` and ``sys.stderr`` while the screen is used."""

    encoding = "utf-8"

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def write(self, text: str, /) -> int:
        self._screen.write(text)
        return len(text)

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True


class _Checker(Validator):
    """Does not accept a line that can't be used. The error is shown below the line, and the cursor moves to the
    character that is wrong.
    """

    def validate(self, document: Document) -> None:
        if not document.text.strip():
            return
        try:
            for given in parse_all(document.text):
                if isinstance(given, SlashCommand):
                    prepared(given)
        except InputError as error:
            raise ValidationError(min(error.position, len(document.text)), str(error)) from error


class _Completer(Completer):
    """Slash commands, names of files after them, and the vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        before = document.text_before_cursor
        if not before.startswith("/"):
            return self._words(before)
        name, space, rest = before[1:].partition(" ")
        if not space:
            return [
                Completion(f"/{known}", -len(before), display_meta=row.help)
                for known, row in COMMANDS.items()
                if known.startswith(name)
            ]
        if name in COMMANDS and COMMANDS[name].is_path:
            return self._paths.get_completions(Document(rest.lstrip()), complete_event)
        return self._words(rest)

    def _words(self, before: str) -> list[Completion]:
        return [Completion(word, -length) for word, length in self._vocabulary.completions(before)]
