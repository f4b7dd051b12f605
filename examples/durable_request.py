"""Orders reports while nobody works; a worker comes later; the replies are fetched by their ids.

python examples/durable_request.py [tcp://127.0.0.1:5570]
"""

import sys

from patterns import Client, WaitTimeout
from patterns.durable_request import DurableRequests, RequestFailed

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5570"


def make_report(body: dict[str, int]) -> str:
    if body["month"] > 12:
        raise ValueError(f"there is no month {body['month']}")
    return f"report of month {body['month']}"


with Client(address) as mq:  # the caller, who may end here and come back tomorrow
    reports = DurableRequests(mq, "reports", keep=3_600, attempts=1)
    may = reports.submit({"month": 5}, id="report-5")
    reports.submit({"month": 5}, id="report-5")  # sent twice, made once
    odd = reports.submit({"month": 13})
    try:
        reports.wait(may, timeout=0.1)
    except WaitTimeout as error:
        print(error)

with Client(address) as mq:  # the worker
    DurableRequests(mq, "reports", keep=3_600, attempts=1).work(make_report, timeout=2)

with Client(address) as mq:  # the caller again
    reports = DurableRequests(mq, "reports", keep=3_600, attempts=1)
    for _ in range(2):
        print(reports.wait(may, timeout=10))
    try:
        reports.wait(odd, timeout=10)
    except RequestFailed as error:
        print("failed:", error)
    print("forgotten:", reports.forget(may), reports.forget(odd), reports.fetch(may))
