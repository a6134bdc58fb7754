"""A window with Qt: messages are shown in it, and it never freezes. Needs ``pip install PySide6``.

Why: a widget may only be used by the thread of the window; and while that thread waits, the window is frozen.
How: ``on_message`` emits a signal on its own thread. The signal is connected to a method of the window, so Qt calls the
method on the thread of the window. ``send()`` and ``submit()`` do not wait, so a button may call them, before the
connection is open too; the answer of ``submit()`` comes with ``future.add_done_callback()``, which emits a signal as
well. ``run_forever()``, which opens the connection, waits, so it has a thread. ``close(wait=False)`` does not wait;
``wait_closed()`` after the end of the window lets the last hook end before Qt deletes the window.

Change: ``url``, and what is shown. PyQt6: the same with ``pyqtSignal``.
Run: python examples/cookbook/qt_window.py     (with the argument "demo" it sends one message, and ends)
"""

import sys
import threading

from PySide6 import QtCore, QtWidgets

import wsclient
from wsclient.testing import Server


class Window(QtWidgets.QWidget):
    arrived = QtCore.Signal(object)

    def __init__(self, url):
        super().__init__()
        self.entry, self.shown = QtWidgets.QLineEdit(), QtWidgets.QListWidget()
        layout = QtWidgets.QVBoxLayout(self)
        layout.addWidget(self.shown)
        layout.addWidget(self.entry)
        self.entry.returnPressed.connect(self.send)
        self.arrived.connect(self.show_message)
        self.client = wsclient.Client(
            url, on_message=lambda client, message: self.arrived.emit(message), retry_first=True
        )
        threading.Thread(target=self.client.run_forever).start()

    @QtCore.Slot()
    def send(self):
        self.client.send(self.entry.text())
        self.entry.clear()

    @QtCore.Slot(object)
    def show_message(self, message):
        self.shown.addItem(message)
        if "demo" in sys.argv:
            on_its_thread = QtCore.QThread.currentThread() is self.thread()
            print("shown:", self.shown.item(0).text(), "on the thread of the window:", on_its_thread)
            self.close()

    def closeEvent(self, event):  # noqa: N802 (a name of Qt)
        self.client.close(wait=False)
        super().closeEvent(event)


if __name__ == "__main__":
    application = QtWidgets.QApplication(sys.argv)
    with Server() as server:
        window = Window(server.url)
        window.show()
        if "demo" in sys.argv:
            window.entry.setText("hello")
            window.send()
        application.exec()
        window.client.wait_closed(10)
