"""Prefect's log lines on a terminal where progress is drawn live."""

import logging

from prefect.logging.handlers import PrefectConsoleHandler

from defectfill.io.terminal import console, is_live


def log_above_bars() -> None:
    """Have Prefect's log lines printed above the live view, where there is one, instead of into its bars."""
    if not is_live():
        return
    loggers = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    for handler in {handler for logger in (logging.root, *loggers) for handler in logger.handlers}:
        if isinstance(handler, PrefectConsoleHandler):
            handler.console = console()
