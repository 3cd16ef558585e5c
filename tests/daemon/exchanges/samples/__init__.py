"""Every venue's sample; the contract suite and the fuzzer run over all of them."""

from __future__ import annotations

from tests.daemon.exchanges.sample import Sample
from tests.daemon.exchanges.samples.binance import SAMPLE as BINANCE
from tests.daemon.exchanges.samples.bitstamp import SAMPLE as BITSTAMP
from tests.daemon.exchanges.samples.bybit import SAMPLE as BYBIT
from tests.daemon.exchanges.samples.bybit_linear import SAMPLE as BYBIT_LINEAR
from tests.daemon.exchanges.samples.coinbase import SAMPLE as COINBASE
from tests.daemon.exchanges.samples.kraken import SAMPLE as KRAKEN
from tests.daemon.exchanges.samples.okx import SAMPLE as OKX

SAMPLES: tuple[Sample, ...] = (BINANCE, COINBASE, KRAKEN, BYBIT, BYBIT_LINEAR, OKX, BITSTAMP)
