"""Headers, config and settings to the tree that routing walks.

All leaves are looked at, so that one refusal names every mistake.
"""

from __future__ import annotations

from collections.abc import Mapping

from aiogateway.config.headers import CallHeaders
from aiogateway.config.inherit import Leaf, Node, inherit, iterate_leaves
from aiogateway.config.leaf import OwnProvider, Surroundings, find_gap, make_address, resolve_leaf
from aiogateway.config.mistakes import join_errors
from aiogateway.config.model import Config, Mode
from aiogateway.config.parse import ConfigCache
from aiogateway.config.tree import Branch, Rule, Tree
from aiogateway.contracts import Provider
from aiogateway.errors import ConfigError
from aiogateway.types import Credential, Deadlines, Origin, Trace

_NOTHING = Config(source="", origin=Origin.REQUEST)


def resolve_tree(
    headers: CallHeaders,
    *,
    configs: ConfigCache,
    default: Config | None,
    providers: Mapping[str, Provider],
    ours: Mapping[str, OwnProvider],
    caller: Credential | None,
    deadlines: Deadlines,
) -> Tree:
    """The targets that a call names, or that `default` names for callers that can't set headers.

    Raises ConfigError when there is no target, or one that may not be used; its ``errors`` are those of all leaves,
    with paths from the config's root, and the header's name where a header is at fault.
    """
    around = Surroundings(headers=headers, providers=providers, ours=ours, caller=caller, deadlines=deadlines)
    node = inherit(_choose_config(headers, configs, default))
    errors: list[ConfigError] = []
    tree = _build(node, around, errors)
    _check_options(node, around, errors)
    if tree is None or errors:
        raise _join_distinct(errors)
    return tree


def _join_distinct(errors: list[ConfigError]) -> ConfigError:
    """What several leaves inherited, or a header said to them all, is one mistake."""
    return join_errors({(error.path, error.reason): error for error in errors}.values())


def names_target(headers: CallHeaders) -> bool:
    """Whether the request itself says where it goes."""
    return headers.config is not None or headers.provider is not None


def _choose_config(headers: CallHeaders, configs: ConfigCache, default: Config | None) -> Config:
    if headers.config is not None:
        return configs.parse(headers.config, origin=Origin.REQUEST, source=headers.name_of("config"))
    if headers.provider is not None:
        return _NOTHING
    if default is None:
        raise ConfigError(
            "no target: send x-portkey-config (a JSON config) or x-portkey-provider (a provider's name, with your key "
            "for it in Authorization)"
        )
    return default


# ---------------------------------------------------------------- branches


def _build(node: Node | Leaf, around: Surroundings, errors: list[ConfigError]) -> Tree | None:
    """The resolved node; None, with its mistakes in `errors`, when it or one below it can't be used."""
    if isinstance(node, Leaf):
        try:
            return resolve_leaf(node, around)
        except ConfigError as error:
            errors += error.errors or (error,)
            return None
    built = [_build(child, around, errors) for child in node.children]
    children = tuple(child for child in built if child is not None)
    if len(children) < len(built):
        return None
    strategy = node.strategy
    places = {child.name: index for index, child in enumerate(node.config.targets) if child.name is not None}
    conditional = strategy.mode is Mode.CONDITIONAL
    return Branch(
        path=make_address(node.config),
        mode=strategy.mode,
        children=children,
        name=node.config.name,
        weights=tuple(child.weight for child in node.config.targets),
        on_status_codes=strategy.on_status_codes,
        failover=strategy.failover,
        rules=tuple(Rule(rule.query, places[rule.then]) for rule in strategy.conditions) if conditional else (),
        default=places[strategy.default] if conditional and strategy.default is not None else None,
    )


def _check_options(node: Node | Leaf, around: Surroundings, errors: list[ConfigError]) -> None:
    """An option's header has to fit one leaf's provider at least; which ones is unknown while a provider is."""
    headers = around.headers
    names = sorted({leaf.config.provider or headers.provider or "" for leaf in iterate_leaves(node)})
    if not all(name in around.providers for name in names):
        return
    known = {option for name in names for option in around.providers[name].options}
    whose = f"the provider {names[0]}" if len(names) == 1 else f"any of the providers {', '.join(names)}"
    for option in [option for option in headers.options if option not in known]:
        errors.append(ConfigError(f"is not an option of {whose}", path=headers.name_of(option.replace("_", "-"))))


def check_default(config: Config) -> None:
    """Raises ConfigError for a config that can't be used as it is, and that no header will ever complete."""
    gaps = [gap for leaf in iterate_leaves(inherit(config)) if (gap := find_gap(leaf.config)) is not None]
    if gaps:
        raise join_errors(gaps)


def check_leaves(config: Config, providers: Mapping[str, Provider], ours: Mapping[str, OwnProvider]) -> None:
    """Raises ConfigError for leaves that the settings' word on their provider makes unusable, whoever calls.

    Leaves that have no provider by themselves are left out: see `find_gap`.
    """
    headers = CallHeaders(trace=Trace(id=""))
    around = Surroundings(headers=headers, providers=providers, ours=ours, caller=None, deadlines=Deadlines())
    errors: list[ConfigError] = []
    for leaf in iterate_leaves(inherit(config)):
        if find_gap(leaf.config) is None:
            _build(leaf, around, errors)
    if errors:
        raise _join_distinct(errors)
