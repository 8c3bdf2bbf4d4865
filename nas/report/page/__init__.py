"""One page about one study: a file that works offline, with everything that its sweep found out."""

from nas.report.page.collect import Collected, collect
from nas.report.page.payload import payload
from nas.report.page.write import write_page

__all__ = ["Collected", "collect", "payload", "write_page"]
