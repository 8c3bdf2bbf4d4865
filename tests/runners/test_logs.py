import logging
import warnings

from runners.logs import MOST, Collected, collecting


def test_only_what_is_said_inside_is_collected():
    log, nas = Collected(), logging.getLogger("nas.somewhere")
    nas.warning("before")
    with collecting(log):
        nas.info("hello")
        nas.debug("too much detail")
        warnings.warn("careful", stacklevel=1)
    nas.warning("after")
    text = log.take()
    assert "INFO hello" in text
    assert "UserWarning: careful" in text
    assert "before" not in text + log.take()
    assert "after" not in text
    assert "detail" not in text


def test_a_log_is_bounded_and_keeps_its_end():
    log = Collected()
    with collecting(log):
        for line in range(5000):
            logging.getLogger("nas").info("line %d", line)
    text = log.take()
    assert len(text) == MOST
    assert text.endswith("line 4999\n")
