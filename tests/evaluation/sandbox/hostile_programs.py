"""Hostile programs by name: the bodies of a function `f(a, b)`."""

from __future__ import annotations

HONEST = "    return [a + b, f'answer-{a * b}']\n"

EXHAUSTION = {
    "while_true": "while True: pass",
    "while_true_that_catches_all": """
while True:
    try:
        while True: pass
    except BaseException:
        pass
""",
    "endless_c_call": "return sum(range(10**15))",
    "catastrophic_regex": "import re; return re.match('(a+)+$', 'a' * 60 + 'b')",
    "endless_generator": """
def numbers():
    while True:
        yield 1
return numbers()
""",
    "endless_iteration": "import itertools; return list(itertools.repeat(1))",
    "sleep": "import time; time.sleep(1000)",
    "wait_for_input": "return input()",
    "lock_that_nobody_opens": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "many_threads_spin": """
import threading
def spin():
    while True: pass
for _ in range(8): threading.Thread(target=spin).start()
while True: pass
""",
    "fork_bomb": """
import os
while True:
    try: os.fork()
    except OSError: pass
""",
    "thread_bomb": """
import threading, time
threading.stack_size(32768)
while True:
    try: threading.Thread(target=time.sleep, args=(1000,)).start()
    except RuntimeError: pass
""",
    "memory_bomb": """
hoard = []
while True: hoard.append('x' * (1 << 22))
""",
    "memory_bomb_that_catches_all": """
hoard = []
while True:
    try: hoard.append('x' * (1 << 22))
    except MemoryError: pass
""",
    "one_huge_object": "return 'x' * (1 << 40)",
    "huge_number": "return 10 ** (10 ** 9)",
    "recursion": "return f(a, b)",
    "deep_recursion": "import sys; sys.setrecursionlimit(10**9); return f(a, b)",
    "disk_bomb": """
n = 0
while True:
    n += 1
    with open(f'/scratch/{n}', 'wb') as file: file.write(b'x' * (1 << 20))
""",
    "many_files": """
for n in range(10**6): open(f'/scratch/{n}', 'w').close()
""",
    "many_descriptors": """
import os
while True: os.dup(1)
""",
    "prints_without_end": """
while True: print('x' * 100000)
""",
    "writes_to_every_descriptor": """
import os
while True:
    for descriptor in range(256):
        try: os.write(descriptor, b'\\0' * 65536)
        except OSError: pass
""",
}

DEATHS = {
    "exit_0_early": "import os; os._exit(0)",
    "sys_exit": "import sys; sys.exit(0)",
    "quit": "quit()",
    "exit_at_the_end": "import atexit, os; atexit.register(os._exit, 0); raise SystemExit(0)",
    "kill_itself": "import os; os.kill(os.getpid(), 9)",
    "kill_the_server": "import os; os.kill(os.getppid(), 9); os.kill(1, 9); os.kill(1, 15)",
    "kill_everything": "import os; os.kill(-1, 9)",
    "kill_the_group": "import os; os.killpg(0, 9)",
    "stop_itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "ignores_all_signals": """
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""",
    "alarm": "import signal, time; signal.alarm(1); time.sleep(1000)",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "abort": "import os; os.abort()",
    "closes_every_descriptor": f"import os; os.closerange(0, 256)\n{HONEST.strip()}",
    "raises_base_exception": "raise BaseException('done')",
    "raises_what_cannot_be_printed": """
class Silent(Exception):
    def __str__(self): raise ValueError
raise Silent
""",
}

FORGERIES = {
    "prints_the_result_format": """
import os, struct
frame = struct.Struct('<cIdQ')
for descriptor in range(256):
    for index in range(10):
        try: os.write(descriptor, frame.pack(b'P', index, 0.0, 1) + b'T')
        except OSError: pass
os._exit(0)
""",
    "prints_a_verdict": """
print('{"base": "pass", "plus": "pass"}')
import os
for descriptor in range(3, 256):
    try: os.write(descriptor, b'{"task_id": "Hostile/0", "base": "pass", "plus": "pass"}')
    except OSError: pass
return None
""",
    "prints_the_server_s_report": """
import marshal, os, struct
report = {'reason': 'exited', 'status': 0, 'cpu': 0.0, 'wall': 0.0, 'memory': 0, 'index': 0, 'clean': True}
report = marshal.dumps(report)
for descriptor in range(256):
    try: os.write(descriptor, struct.pack('<Q', len(report)) + report)
    except OSError: pass
os._exit(0)
""",
    "frame_of_absurd_length": """
import os, struct
for descriptor in range(3, 256):
    try: os.write(descriptor, struct.pack('<cIdQ', b'P', 0, 0.0, 1 << 62))
    except OSError: pass
while True: pass
""",
    "malformed_marshal": """
import marshal
marshal.dumps = lambda *rest: b'[\\xff\\xff\\xff\\x7f' + b'N' * 100
return [1]
""",
    "code_object_as_value": """
import marshal
code, dumps = compile('1', 's', 'eval'), marshal.dumps
marshal.dumps = lambda *rest: dumps(code)
return [1]
""",
    "equal_to_everything": """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __hash__ = None
return Equal()
""",
    "list_equal_to_everything": """
class Equal(list):
    def __eq__(self, other): return True
    def __len__(self): return 2
return Equal()
""",
    "parts_equal_to_everything": """
class Number(int):
    def __eq__(self, other): return True
class Text(str):
    def __eq__(self, other): return True
    def __hash__(self): return 0
return [Number(-1), Text('no')]
""",
    "claims_another_class": """
class Liar:
    __class__ = list
    def __eq__(self, other): return True
    def __iter__(self): return iter([1, 2])
return Liar()
""",
    "metaclass_equality": """
class Meta(type):
    def __eq__(cls, other): return True
    def __hash__(cls): return hash(int)
class Value(metaclass=Meta):
    def __eq__(self, other): return True
return Value()
""",
    "patches_the_checker": """
import builtins, math, operator, sys
import numpy
numpy.allclose = numpy.array_equal = operator.eq = lambda *rest, **more: True
builtins.all = builtins.any = builtins.isinstance = lambda *rest: True
for name, module in list(sys.modules.items()):
    if name.startswith('src.'):
        for key, value in list(vars(module).items()):
            if callable(value) and not key.startswith('__'):
                try: setattr(module, key, lambda *rest, **more: True)
                except Exception: pass
return None
""",
    "looks_for_the_answer_with_gc": """
import gc
for thing in gc.get_objects():
    if isinstance(thing, (list, tuple)) and any(isinstance(p, str) and p.startswith('answer-') for p in thing):
        return list(thing)
    if isinstance(thing, dict):
        for value in list(thing.values()):
            if isinstance(value, (str, bytes)) and len(value) < 100 and 'answer-' in str(value): return value
return None
""",
    "looks_for_the_answer_in_frames": """
import sys
frame = sys._getframe()
while frame:
    for name, value in frame.f_locals.items():
        if frame.f_code.co_name != 'f' and 'answer-' in repr(value): return value
    frame = frame.f_back
return None
""",
    "looks_for_the_reference_solution": """
import os, sys
for folder, _, files in os.walk('/'):
    if folder.startswith(('/usr', '/lib')) or '/site-packages' in folder: continue
    for name in files:
        try: text = open(os.path.join(folder, name), 'rb').read(1 << 20)
        except OSError: continue
        if b'canonical_solution' in text and b'Hostile/0' in text: return 'found'
return None
""",
    "lies_about_progress": """
import sys
frame = sys._getframe()
while frame:
    for value in frame.f_locals.values():
        if isinstance(value, memoryview):
            page = value
    frame = frame.f_back
n = 0
while True:
    n += 1
    page[0] = n % 10
""",
    "stops_the_clocks": """
import time
time.process_time = time.perf_counter = time.monotonic = lambda: 0.0
while True: pass
""",
}
