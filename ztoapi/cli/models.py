"""``ztoapi models``: lists the configured models and their routes, or the models of the upstreams."""

import argparse
import json
import os
import sys

import httpx
import msgspec

from ztoapi.cli.live import ListedModels, LiveCheck, list_models
from ztoapi.cli.options import load_config
from ztoapi.config.model import Config
from ztoapi.server.context import ServerContext

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Prints the routes, without requests, or the lists of the upstreams. Returns 0, or 1 if an upstream gave no list.
    Raises ConfigError."""
    config = load_config(args).config
    if args.live:
        return _print_lists(config, as_json=args.json)
    if args.json:
        print(json.dumps(msgspec.to_builtins(config.routes), indent=2))
        return 0
    for route in config.routes:
        print(f"{route.public}  {route.platform}:{route.upstream}")
    return 0


def _print_lists(config: Config, *, as_json: bool) -> int:
    lists: dict[str, tuple[str, ...]] = {}
    complete = True
    check = LiveCheck(config, os.environ, ServerContext.wall_clock)
    for platform in config.platforms:
        if platform.models_url is None:
            continue
        if not platform.credentials:
            complete = False
            print(f"no token for the platform {platform.id}: set {platform.id.upper()}_TOKEN", file=sys.stderr)
            continue
        try:
            with check.client(platform) as client:
                listed = list_models(client, platform.models_url, platform.credentials[0])
        except httpx.HTTPError as error:
            listed = ListedModels(fault=str(error) or type(error).__name__)
        lists[platform.id] = listed.models
        if listed.fault:
            complete = False
            print(f"ztoapi models: {platform.models_url}: {listed.fault}", file=sys.stderr)
    if as_json:
        print(json.dumps(lists, indent=2))
    else:
        _print_models(config, lists)
    return 0 if complete else 1


def _print_models(config: Config, lists: dict[str, tuple[str, ...]]) -> None:
    """Prints each model with the public names that are routed to it."""
    for platform, models in lists.items():
        for model in models:
            names = [
                route.public
                for route in config.routes
                if route.platform == platform and route.upstream.lower() == model.lower()
            ]
            print(f"{platform}:{model}" + (f"  as {', '.join(names)}" if names else ""))
