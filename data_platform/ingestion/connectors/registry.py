"""Which connector collects which kind of feed; each is imported when it is used."""

from importlib import import_module
from typing import Any

from data_platform.feed_settings import ApiFeed
from data_platform.ingestion.connectors.connector import Connector
from data_platform.ingestion.connectors.http import Http

CONNECTORS = {
    "mastodon": "mastodon:MastodonConnector",
    "bluesky": "bluesky:BlueskyConnector",
    "hackernews": "hackernews:HackerNewsConnector",
    "reddit": "reddit:RedditConnector",
    "youtube": "youtube:YouTubeConnector",
    "x": "x:XConnector",
    "app_store": "app_store:AppStoreConnector",
    "google_play": "google_play:GooglePlayConnector",
    "zendesk": "zendesk:ZendeskConnector",
    "github": "github:GitHubConnector",
    "stackexchange": "stackexchange:StackExchangeConnector",
    "rss": "rss:RssConnector",
    "rest": "rest:RestConnector",
    "dlt": "dlt_resource:DltConnector",
}


def connector_class(kind: str) -> type[Connector[Any]]:
    """Return the connector for feeds of a kind."""
    module, _, name = CONNECTORS[kind].partition(":")
    found: type[Connector[Any]] = getattr(
        import_module(f"data_platform.ingestion.connectors.{module}"), name
    )
    return found


def make_connector(feed: ApiFeed, kind: str, http: Http) -> Connector[Any]:
    """Return the connector of a feed.

    Raises:
        ConfigurationError: an environment variable that the feed names is not set.
    """
    return connector_class(kind)(feed, http)
