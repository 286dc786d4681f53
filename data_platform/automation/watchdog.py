"""The watchdog: a process of its own that looks at daemon, sensors and all else, and says when it cannot."""

import dagster as dg

from data_platform.automation.health import read_daemon
from data_platform.automation.watch import SENDING_SECONDS, Watch
from data_platform.feed_settings import EnvironmentSecret
from data_platform.monitoring.alerts import CHANNEL_FAILED, DAEMON_SILENT
from data_platform.monitoring.channels import ping
from data_platform.monitoring.delivery import Delivery


def watch_over(
    watch: Watch, instance: dg.DagsterInstance, heartbeat_url: EnvironmentSecret | None
) -> str:
    """Look once, send what is due, and say to the outside that somebody looks; return a summary.

    The heartbeat is left out while the daemon is silent or a channel does not take its messages:
    then nobody may hear of it from here, and who waits for the heartbeat should.

    Raises:
        BusyError: the warehouse is held by another process.
        ChannelError: the heartbeat was not taken.
        ConfigurationError: the variable of its address is not set.
    """
    look = watch.look(instance, None, read_daemon(instance))
    while look.is_behind:
        look = watch.look(instance, None, read_daemon(instance))
    delivery = Delivery()
    if look.is_due:
        delivery = watch.deliver(SENDING_SECONDS, patience_seconds=SENDING_SECONDS)
    kinds = look.changes.open_kinds if look.changes else {}
    words = [f"{look.open_count} alert(s) open, {delivery.sent_count} message(s) sent"]
    words += [f"channel {name}: {error}" for name, error in delivery.failures.items()]
    if heartbeat_url is not None:
        if delivery.failures or DAEMON_SILENT in kinds or CHANNEL_FAILED in kinds:
            words.append("no heartbeat was sent")
        else:
            ping(heartbeat_url.read())
            words.append("heartbeat sent")
    return "; ".join(words)
