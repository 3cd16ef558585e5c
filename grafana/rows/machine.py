"""Dashboard rows of MQTT, queues, GPU and process."""

from __future__ import annotations

from grafana.panels import Panel, Query, Row, increase, of_instance, of_selection, per_second

MQTT = Row(
    "MQTT and queues",
    (
        Panel(
            "Broker",
            "Whether the broker has accepted the connection.",
            "none",
            (Query(of_instance("mqtt_connected"), "{{instance}}"),),
            stat=True,
            width=4,
            words={"0": "not connected", "1": "connected"},
        ),
        Panel(
            "Messages",
            "Messages of the last hour that the broker confirmed, and those that were not delivered, by reason: "
            "expired or superseded while the broker was away, refused by it, or too large for it.",
            "short",
            (
                Query(increase(of_instance("mqtt_published_total"), by="instance"), "published {{instance}}"),
                Query(increase(of_instance("mqtt_dropped_total"), by="instance, reason"), "{{reason}} {{instance}}"),
            ),
            minimum=0,
        ),
        Panel(
            "Lost connections",
            "Connections to the broker that were refused or lost in the last hour, by reason. session_taken_over: a "
            "second daemon has this client id; not_authorized: credentials or access rules.",
            "short",
            (
                Query(
                    increase(of_instance("mqtt_connection_failures_total"), by="instance, reason"),
                    "{{reason}} {{instance}}",
                ),
            ),
            width=4,
            minimum=0,
        ),
        Panel(
            "Outbox",
            "Messages waiting for the broker. It grows only while the broker is away.",
            "short",
            (Query(of_instance("mqtt_outbox_depth"), "{{instance}}"),),
            width=4,
            minimum=0,
        ),
        Panel(
            "Queues",
            "Share of each bounded queue that is in use.",
            "percentunit",
            (Query(f"{of_instance('queue_depth')} / {of_instance('queue_capacity')}", "{{queue}}"),),
            minimum=0,
            maximum=1,
        ),
    ),
)

_GPU_NAME = f"* on (instance, job, uuid) group_left (name) {of_instance('gpu_info')}"

MACHINE = Row(
    "GPU and process",
    (
        Panel(
            "GPU utilisation",
            "Share of time in which a kernel ran. No data without an NVIDIA driver.",
            "percentunit",
            (Query(f"{of_instance('gpu_utilization_ratio')} {_GPU_NAME}", "{{name}}"),),
            minimum=0,
            maximum=1,
        ),
        Panel(
            "GPU memory",
            "Memory in use on the board, of all processes, and what is installed.",
            "bytes",
            (
                Query(f"{of_instance('gpu_memory_used_bytes')} {_GPU_NAME}", "used {{name}}"),
                Query(f"{of_instance('gpu_memory_total_bytes')} {_GPU_NAME}", "total {{name}}"),
            ),
            minimum=0,
        ),
        Panel(
            "GPU temperature",
            "Temperature of the chip.",
            "celsius",
            (Query(f"{of_instance('gpu_temperature_celsius')} {_GPU_NAME}", "{{name}}"),),
            width=4,
        ),
        Panel(
            "GPU power",
            "Power drawn by the board.",
            "watt",
            (Query(f"{of_instance('gpu_power_watts')} {_GPU_NAME}", "{{name}}"),),
            width=4,
            minimum=0,
        ),
        Panel(
            "Age of the GPU figures",
            "Since the driver's newest answer. A driver that hangs leaves the other GPU panels frozen and this one "
            "climbing.",
            "s",
            (Query(f"time() - {of_instance('gpu_last_collect_timestamp_seconds')}", "{{uuid}}"),),
            width=6,
            minimum=0,
        ),
        Panel(
            "CPU",
            "Processor time of the daemon, without its training child: 100% is one core.",
            "percentunit",
            (Query(per_second(of_selection("process_cpu_seconds_total"), by="instance"), "{{instance}}"),),
            width=6,
            minimum=0,
        ),
        Panel(
            "Resident memory",
            "Memory of the daemon, without its training child.",
            "bytes",
            (Query(of_selection("process_resident_memory_bytes"), "{{instance}}"),),
            width=6,
            minimum=0,
        ),
        Panel(
            "Uptime",
            "Wall time since the daemon started, with its version.",
            "s",
            (
                Query(
                    f"(time() - {of_selection('process_start_time_seconds')}) "
                    f"* on (instance, job) group_left (version) {of_instance('build_info')}",
                    "{{instance}} {{version}}",
                ),
            ),
            stat=True,
            width=6,
            minimum=0,
        ),
    ),
)
