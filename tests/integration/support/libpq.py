"""SQL by libpq in this process: to start psql takes longer than most statements."""

import ctypes
import select
import subprocess
import time

_pq = ctypes.CDLL("libpq.so.5")
_CONNECTION_OK, _CONNECTION_BAD = 0, 1
_POLLING_FAILED, _POLLING_READING, _POLLING_WRITING, _POLLING_OK = range(4)
_EMPTY_QUERY, _COMMAND_OK, _TUPLES_OK = range(3)  # ExecStatusType in libpq-fe.h
_FATAL_ERROR = 7
_NOTICE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)
for _name, _result, _arguments in (
        ("PQconnectStart", ctypes.c_void_p, [ctypes.c_char_p]),
        ("PQconnectPoll", ctypes.c_int, [ctypes.c_void_p]),
        ("PQsocket", ctypes.c_int, [ctypes.c_void_p]),
        ("PQstatus", ctypes.c_int, [ctypes.c_void_p]),
        ("PQerrorMessage", ctypes.c_char_p, [ctypes.c_void_p]),
        ("PQsetNoticeProcessor", ctypes.c_void_p, [ctypes.c_void_p, _NOTICE, ctypes.c_void_p]),
        ("PQsendQuery", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
        ("PQconsumeInput", ctypes.c_int, [ctypes.c_void_p]),
        ("PQisBusy", ctypes.c_int, [ctypes.c_void_p]),
        ("PQgetResult", ctypes.c_void_p, [ctypes.c_void_p]),
        ("PQresultStatus", ctypes.c_int, [ctypes.c_void_p]),
        ("PQresultErrorMessage", ctypes.c_char_p, [ctypes.c_void_p]),
        ("PQntuples", ctypes.c_int, [ctypes.c_void_p]),
        ("PQnfields", ctypes.c_int, [ctypes.c_void_p]),
        ("PQgetlength", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
        ("PQgetvalue", ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]),
        ("PQclear", None, [ctypes.c_void_p]),
        ("PQfinish", None, [ctypes.c_void_p])):
    _function = getattr(_pq, _name)
    _function.restype, _function.argtypes = _result, _arguments


def execute(conninfo, text, timeout):
    """What `psql -XAtq -v ON_ERROR_STOP=1 -c text conninfo` does, as a finished process: rows as lines, columns separated
    by |; status 1 after an error, 2 without a connection. The connection is a new one."""
    session = _Session(f"{conninfo} fallback_application_name=psql", time.monotonic() + timeout)
    try:
        status = session.run(text)
    except TimeoutError:
        raise subprocess.TimeoutExpired(text, timeout) from None
    finally:
        session.close()
    return subprocess.CompletedProcess(text, status, "".join(session.out), "".join(session.err))


class _Session:
    def __init__(self, conninfo, deadline):
        self.out, self.err = [], []
        self._deadline = deadline
        self._notice = _NOTICE(lambda _, message: self.err.append(message.decode()))
        self._connection = _pq.PQconnectStart(conninfo.encode())

    def close(self):
        _pq.PQfinish(self._connection)

    def run(self, text):
        if not self._connect():
            self.err.append("psql: error: " + self._message())
            return 2
        _pq.PQsetNoticeProcessor(self._connection, self._notice, None)
        good = _pq.PQsendQuery(self._connection, text.encode())
        if not good:
            self.err.append(self._message())
            return 2
        while result := self._next_result():
            good = self._take(result) and good
            _pq.PQclear(result)
        if good:
            return 0
        return 1 if _pq.PQstatus(self._connection) == _CONNECTION_OK else 2

    def _message(self):
        return _pq.PQerrorMessage(self._connection).decode()

    def _wait(self, writing=False):
        socket = _pq.PQsocket(self._connection)
        ready = select.poll()
        ready.register(socket, select.POLLOUT if writing else select.POLLIN)
        left = self._deadline - time.monotonic()
        if not ready.poll(max(left, 0) * 1000):
            raise TimeoutError

    def _connect(self):
        step = _POLLING_FAILED if _pq.PQstatus(self._connection) == _CONNECTION_BAD else _POLLING_WRITING
        while step not in (_POLLING_FAILED, _POLLING_OK):
            self._wait(writing=step == _POLLING_WRITING)
            step = _pq.PQconnectPoll(self._connection)
        return _pq.PQstatus(self._connection) == _CONNECTION_OK

    def _next_result(self):
        while _pq.PQisBusy(self._connection):
            self._wait()
            if not _pq.PQconsumeInput(self._connection):
                break
        return _pq.PQgetResult(self._connection)

    def _take(self, result):
        status = _pq.PQresultStatus(result)
        if status == _FATAL_ERROR:
            self.err.append(_pq.PQresultErrorMessage(result).decode())
            return False
        assert status in (_EMPTY_QUERY, _COMMAND_OK, _TUPLES_OK), f"a result of kind {status}, which only psql can take"
        columns = range(_pq.PQnfields(result))
        for row in range(_pq.PQntuples(result) if columns else 0):
            values = (ctypes.string_at(_pq.PQgetvalue(result, row, column), _pq.PQgetlength(result, row, column))
                      for column in columns)
            self.out.append(b"|".join(values).decode() + "\n")
        return True
