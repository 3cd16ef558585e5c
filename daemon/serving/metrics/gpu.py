"""Metrics of the GPUs, by UUID."""

from __future__ import annotations

from daemon.serving.metrics.family import MetricFamily


class GpuMetrics(MetricFamily):
    """What NVML reports; a figure that the board does not support has no series."""

    def _define_gpu(self) -> None:
        self.gpu = self._gauge("gpu_info", "The GPU's identity, always 1.", ("uuid", "name"))
        self.gpu_utilization_ratio = self._gauge("gpu_utilization_ratio", "Share of time with a kernel.", ("uuid",))
        self.gpu_memory_used_bytes = self._gauge("gpu_memory_used_bytes", "GPU memory in use.", ("uuid",))
        self.gpu_memory_total_bytes = self._gauge("gpu_memory_total_bytes", "GPU memory installed.", ("uuid",))
        self.gpu_temperature_celsius = self._gauge("gpu_temperature_celsius", "Temperature of the chip.", ("uuid",))
        self.gpu_power_watts = self._gauge("gpu_power_watts", "Power drawn by the board.", ("uuid",))
        self.gpu_last_collect_timestamp = self._gauge(
            "gpu_last_collect_timestamp_seconds", "System time of the newest NVML answer.", ("uuid",)
        )
