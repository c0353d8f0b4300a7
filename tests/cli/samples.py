# SPDX-License-Identifier: BSD-2-Clause
"""What a daemon might answer: results by method."""

MGMTDEVS = [
    {"handle": "sim/nic0", "state": "up", "classes": ["net"], "max_vqs": 16,
     "features": ["CSUM", "MTU", "MAC", "MRG_RXBUF", "STATUS", "RING_EVENT_IDX", "VERSION_1",
                  "ACCESS_PLATFORM", 40, 48],
     "devices": 2, "uplink": "tap:x", "uplink_state": "up", "pid": 812, "restarts": 0},
    {"handle": "sim/nic1", "state": "failed", "reason": "its program is missing",
     "classes": ["net"], "max_vqs": 0, "features": [], "devices": 0, "uplink": "none", "uplink_state": "none",
     "pid": 0, "restarts": 3},
    {"handle": "bare"},
]

DEVS = [
    {"name": "vm1", "type": "network", "mgmtdev": "sim/nic0", "vendor_id": 0, "max_vqs": 2,
     "max_vq_size": 1024},
    {"name": "vm2", "type": "network", "mgmtdev": "sim/nic0", "vendor_id": 6900, "max_vqs": 8,
     "max_vq_size": 32768},
]

CONFIGS = [
    {"name": "vm1", "mac": "52:54:00:00:00:01", "link_up": True, "link_announce": False,
     "max_vqp": 1, "mtu": 1500, "negotiated_features": ["MTU", "MAC", "VERSION_1", 40]},
    {"name": "vm2", "mac": "52:54:00:00:00:02", "link_up": False, "link_announce": True,
     "max_vqp": 4, "mtu": 9000},
    {"name": "vm3"},
]

STATS = {"received_desc": 12, "completed_desc": 11, "bytes": 9007199254740993, "drops": 3,
         "errors": 2, "calls": 1}

QUEUES = [
    {"qidx": 0, "queue_type": "rx", "stats": STATS},
    {"qidx": 1, "queue_type": "tx", "stats": dict.fromkeys(STATS, 0)},
]

STATUS = [
    {"name": "vm1", "mgmtdev": "sim/nic0", "vm": "vm1", "socket": "/run/vdpad/vhost/vm1.sock",
     "mode": "server", "state": "running", "connected": True, "frontend_pid": 4711,
     "frontend_uid": 64055, "connected_s": 3723, "datapath": "direct", "uptime_s": 192,
     "features": ["MRG_RXBUF", "VERSION_1", 40], "protocol_features": ["MQ", "CONFIG"],
     "mac": "52:54:00:00:00:01", "mtu": 1500, "link_up": True, "max_vqp": 1, "spoof_check": True,
     "counters": {"rx_frames": 100, "rx_bytes": 6400, "tx_frames": 90, "tx_bytes": 5760,
                  "spoof_drops": 0, "flood_drops": 0, "no_queue_drops": 0},
     "memory_regions": 2, "memory_bytes": 1 << 30, "messages": 40, "refused": 0, "connections": 1,
     "shim_pid": 812, "worker_pid": 815, "worker": "/usr/local/libexec/vdpad/vdpa-worker",
     "worker_restarts": 0, "log_level": "info",
     "queues": [
         {"qidx": 0, "queue_type": "rx", "size": 256, "enabled": True, "running": True,
          "failed": False, "avail": 17, "used": 12},
         {"qidx": 1, "queue_type": "tx", "size": 1024, "enabled": True, "running": True,
          "failed": False, "avail": 65535, "used": 65530},
     ]},
    {"name": "vm2", "mgmtdev": "sim/nic0", "vm": "two", "socket": "/run/vdpad/vhost/vm2.sock",
     "mode": "client", "state": "configured", "reason": "SET_VRING_NUM: 3 is not a power of two",
     "connected": True, "frontend_pid": 4712, "frontend_uid": 0, "connected_s": 7,
     "datapath": "none", "uptime_s": 0, "features": ["RING_PACKED"], "protocol_features": [],
     "mac": "52:54:00:00:00:02", "mtu": 9000, "link_up": False, "max_vqp": 10,
     "spoof_check": True, "last_spoof_mac": "02:00:00:00:00:99", "stale": True,
     "counters": {"rx_frames": 0, "rx_bytes": 0, "tx_frames": 0, "tx_bytes": 0,
                  "spoof_drops": 12, "flood_drops": 5, "no_queue_drops": 7},
     "memory_regions": 1, "memory_bytes": 1536, "messages": 20, "refused": 1, "connections": 3,
     "shim_pid": 813, "worker_pid": 816, "worker": "/opt/worker", "worker_restarts": 2,
     "log_level": "debug",
     "queues": [
         {"qidx": 0, "queue_type": "rx", "size": 256, "enabled": True, "running": False,
          "failed": False, "avail": 1, "used": 0, "avail_wrap": 1, "used_wrap": 0},
         {"qidx": 1, "queue_type": "tx", "size": 256, "enabled": False, "running": False,
          "failed": True, "avail": 2, "used": 2, "avail_wrap": 1, "used_wrap": 1},
         {"qidx": 18, "queue_type": "rx", "size": 256, "enabled": False, "running": False,
          "failed": False, "avail": 0, "used": 0, "avail_wrap": 1, "used_wrap": 1},
         {"qidx": 19, "queue_type": "tx", "size": 256, "enabled": False, "running": True,
          "failed": False, "avail": 0, "used": 0, "avail_wrap": 1, "used_wrap": 1},
     ]},
    {"name": "vm3", "mgmtdev": "sim/nic1", "vm": "vm3", "socket": "/run/vdpad/vhost/vm3.sock",
     "mode": "server", "state": "broken", "reason": "sim/nic1 does not run", "connected": False,
     "datapath": "none", "uptime_s": 0, "messages": 0, "refused": 0, "connections": 0,
     "shim_pid": 0, "worker_pid": 0, "worker": "/opt/worker", "worker_restarts": 5,
     "log_level": "info"},
]

DUMP = {"name": "vm1", "version": "0.1.0",
        "worker_report": "{\"state\": \"running\", \"log\": [\"one\", \"two\"]}"}

MIGRATION = [
    {"name": "vm1", "number": 3, "phase": "none", "method": "relay", "outcome": "handed over",
     "age_s": 75, "switch_us": 412, "logging_us": 1234567, "stop_us": 98, "leave_us": 20500},
    {"name": "vm2", "number": 1, "phase": "logging", "method": "device", "outcome": "none yet",
     "age_s": 2, "switch_us": 35},
    {"name": "vm3"},
]

ANSWERS = {
    "mgmtdev.show": {"mgmtdevs": MGMTDEVS},
    "dev.show": {"devs": DEVS},
    "dev.config": {"devs": CONFIGS},
    "dev.status": {"devs": STATUS}, "dev.migration": {"devs": MIGRATION},
    "dev.vstats": {"queues": QUEUES},
    "dev.dump": {"dump": DUMP},
}
