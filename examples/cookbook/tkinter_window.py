"""A window with tkinter: messages are shown in it, and it never freezes.

Why: a window's functions may only be called by the thread of the window; and while they wait, the window is frozen.
How: the hook ``on_message``, on its own thread, puts each message into a queue. The window looks into the queue every
50 ms. ``send()`` and ``submit()`` (for a message with an answer) do not wait, so a button may call them, before the
connection is open too. ``run_forever()``, which opens it, waits, so it has a thread. ``close(wait=False)`` does not
wait. Qt: see ``qt_window.py``.

Change: ``URL``, and what is shown.
Run: python examples/cookbook/tkinter_window.py     (with the argument "demo" it sends one message, and ends)
"""

import contextlib
import queue
import sys
import threading
import tkinter as tk

import wsclient
from wsclient.testing import Server


class Window(tk.Tk):
    def __init__(self, url):
        super().__init__()
        self.messages = queue.Queue()
        self.client = wsclient.Client(
            url, on_message=lambda client, message: self.messages.put(message), retry_first=True
        )
        self.entry, self.shown = tk.Entry(self), tk.Listbox(self)
        self.shown.pack()
        self.entry.pack()
        self.entry.bind("<Return>", lambda event: self.send())
        self.protocol("WM_DELETE_WINDOW", self.leave)
        threading.Thread(target=self.client.run_forever).start()
        self.show_messages()

    def send(self):
        self.client.send(self.entry.get())
        self.entry.delete(0, "end")

    def show_messages(self):
        with contextlib.suppress(queue.Empty):
            while True:
                self.shown.insert("end", self.messages.get_nowait())
        self.after(50, self.show_messages)

    def leave(self):
        self.client.close(wait=False)
        self.destroy()


def demonstrate(window):
    if window.shown.size():
        print("shown:", window.shown.get(0))
        window.leave()
    else:
        window.after(50, demonstrate, window)


if __name__ == "__main__":
    with Server() as server:
        try:
            window = Window(server.url)
        except tk.TclError as error:
            sys.exit(f"THERE IS NO SCREEN: {error}")
        if "demo" in sys.argv:
            window.entry.insert(0, "hello")
            window.send()
            demonstrate(window)
        window.mainloop()
