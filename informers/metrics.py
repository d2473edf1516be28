"""What Prometheus can read off an informer. Labels are resources (`pods.v1`): bounded by what is covered."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

upstream_requests = Counter(
    "larder_informer_upstream_requests", "Requests to the API server", ["verb", "resource", "cause"]
)
events = Counter("larder_informer_events", "Events written to the store", ["resource"])
relists = Counter("larder_informer_relists", "Whole lists taken from the API server", ["resource", "cause"])
failures = Counter("larder_informer_failures", "Interruptions of a watch or list that were not planned", ["resource"])
unreadable = Counter("larder_informer_unreadable_objects", "Objects left out because they are none", ["resource"])
rows_failed = Counter("larder_informer_rows_failed", "Objects whose Table row could not be printed", ["resource"])
position = Gauge("larder_informer_position", "resourceVersion up to which the store is complete", ["resource"])
silence = Gauge("larder_informer_silence_seconds", "Seconds since upstream was last in touch", ["resource"])
table_served = Gauge("larder_informer_table_served", "Whether Tables come from the store (1) or upstream", ["resource"])
held = Gauge("larder_informer_resources_held", "Resources whose lease this worker holds")
covered = Gauge("larder_informer_resources_covered", "Resources that are to be covered")
