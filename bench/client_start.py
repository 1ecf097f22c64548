"""C3 and C4 of one client, in a fresh process that has imported nothing else: what ``client.py`` runs.

python bench/client_start.py KIND PORT
"""

import sys
import time

before = time.perf_counter()


def rss_kb():
    """Memory that is here."""
    with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - pathlib would be in the figure
        return next(int(line.split()[1]) for line in status if line.startswith(b"VmRSS"))


if sys.argv[1] == "offhook":
    from offhook import Client
else:
    from openai import OpenAI as Client

one = Client(api_key="sk-bench", base_url=f"http://127.0.0.1:{sys.argv[2]}/v1")
accept = one.realtime.calls.accept
ready_ms = (time.perf_counter() - before) * 1000
ready_kb, modules = rss_kb(), len(sys.modules)
accept("rtc_1", type="realtime", instructions="Be brief.")
figures = {"ms": ready_ms, "rss_kb": ready_kb, "called_kb": rss_kb(), "imported_later": len(sys.modules) - modules}
print(str(figures).replace("'", '"'), flush=True)
