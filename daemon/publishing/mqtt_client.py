"""aiomqtt's client with what it leaves out: the reason codes and limits that an MQTT 5 broker sends."""

from __future__ import annotations

import asyncio
from typing import Any

import aiomqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

_KEEPALIVE_TIMEOUT = 0x8D  # paho's own, where the broker answered no PINGREQ


class ReasonedClient(aiomqtt.Client):
    """Keeps the reason code of each PUBACK and of DISCONNECT, and the broker's maximum packet size.

    disconnect_code: of the broker's DISCONNECT; None where it closed the connection without one.
    closed_by_broker: whether the connection ended other than by a missing answer or by ``disconnect``.
    subscription_pending: whether the broker has not answered ``watch`` yet.
    max_packet_bytes: None where the broker named no limit.
    """

    disconnect_code: int | None = None
    max_packet_bytes: int | None = None
    closed_by_broker = False
    subscription_pending = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._confirmations: dict[int, asyncio.Future[int]] = {}

    async def publish_confirmed(
        self, topic: str, payload: bytes, *, retain: bool, properties: Properties | None
    ) -> int:
        """Publishes with QoS 1 and returns the reason code of PUBACK, 0 with MQTT 3.1.1. Raises MqttError."""
        info = self._client.publish(topic, payload, 1, retain, properties)
        if info.rc != MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, "Could not publish message")
        confirmation = self._confirmations[info.mid] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(confirmation, self.timeout)
        except TimeoutError:
            raise aiomqtt.MqttError("Operation timed out") from None
        finally:
            del self._confirmations[info.mid]

    def watch(self, topic: str, *, mqtt_5: bool) -> None:
        """Subscribes to what others publish on ``topic``, without waiting for the answer, which may be a refusal.

        MQTT 3.1.1 cannot leave the client's own messages out.
        """
        self.subscription_pending = True
        if mqtt_5:
            only_new = SubscribeOptions(qos=1, noLocal=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
            self._client.subscribe(topic, options=only_new)
        else:
            self._client.subscribe(topic, 1)

    def _on_subscribe(
        self, _client: Any, _userdata: Any, _mid: int, _codes: list[ReasonCode], _properties: Properties | None = None
    ) -> None:
        self.subscription_pending = False

    def _on_connect(
        self, client: Any, userdata: Any, flags: Any, reason_code: ReasonCode, properties: Properties | None = None
    ) -> None:
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: ReasonCode, properties: Properties | None = None
    ) -> None:
        self.closed_by_broker = reason_code.value != _KEEPALIVE_TIMEOUT
        if flags.is_disconnect_packet_from_server:
            self.disconnect_code = reason_code.value
        super()._on_disconnect(client, userdata, flags, reason_code, properties)

    def _on_publish(
        self, _client: Any, _userdata: Any, mid: int, reason_code: ReasonCode, _properties: Properties
    ) -> None:
        confirmation = self._confirmations.get(mid)
        if confirmation is not None and not confirmation.done():
            confirmation.set_result(reason_code.value)
