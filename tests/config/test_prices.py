"""Prices of models, and the cost of a request in whole nano-dollars."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.config.catalogue import Catalogue, zai_models
from ztoapi.config.model import ModelFacts
from ztoapi.config.prices import NANOS_PER_DOLLAR, Price, price_of

COUNTS = st.integers(0, 10**7)
PRICES = st.decimals(0, 100, places=3)


def test_the_catalogue_has_the_price_of_a_million_tokens() -> None:
    price = price_of(Catalogue({}).find("GLM-4.6", "zai"))
    assert price is not None
    assert price.cost(10**6, 0, 0) == round(0.60 * NANOS_PER_DOLLAR)
    assert price.cost(0, 0, 10**6) == round(2.20 * NANOS_PER_DOLLAR)
    assert price.cost(10**6, 10**6, 0) == round(0.11 * NANOS_PER_DOLLAR)
    assert price.cost(3, 1, 2) == 2 * 600 + 110 + 2 * 2200


def test_a_price_of_the_configuration_replaces_one_and_keeps_the_others() -> None:
    price = price_of(Catalogue({"glm-4.6": ModelFacts(output_price=1.0)}).find("glm-4.6", "zai"))
    assert price == Price(600.0, 110.0, 1000.0)


def test_another_platform_has_configured_prices_only() -> None:
    own = {"glm-4.6": ModelFacts(input_price=1.0, output_price=2.0)}
    assert price_of(Catalogue({}).find("glm-4.6", "openai")) is None
    assert price_of(Catalogue(own).find("glm-4.6", "openai")) == Price(1000.0, 1000.0, 2000.0)


@pytest.mark.parametrize("facts", [None, ModelFacts(), ModelFacts(input_price=1.0), ModelFacts(output_price=1.0)])
def test_without_both_prices_there_is_none(facts: ModelFacts | None) -> None:
    assert price_of(facts) is None


def test_a_price_of_zero_is_a_price() -> None:
    price = price_of(zai_models()["glm-4.5-flash"])
    assert price is not None
    assert price.cost(10**9, 0, 10**9) == 0


@given(PRICES, PRICES, PRICES, COUNTS, COUNTS, COUNTS)
def test_the_cost_is_exact(input: Decimal, cached: Decimal, output: Decimal, fresh: int, old: int, made: int) -> None:
    price = price_of(ModelFacts(input_price=float(input), cached_input_price=float(cached), output_price=float(output)))
    assert price is not None
    assert price.cost(fresh + old, old, made) == 1000 * (fresh * input + old * cached + made * output)


@pytest.mark.parametrize(("counts", "cost"), [((-5, 0, 0), 0), ((10, 99, 0), 1000), ((0, 0, -3), 0)])
def test_counts_that_make_no_sense_cost_no_less_than_nothing(counts: tuple[int, int, int], cost: int) -> None:
    assert Price(200.0, 100.0, 300.0).cost(*counts) == cost
