-- The last line of a run: one JSON object for bench/harness/load.py.
return function(summary, latency)
   local e = summary.errors
   print(string.format(
      '{"requests":%d,"duration_us":%d,"p50_us":%.1f,"p99_us":%.1f,"refused":%d,"broken":%d}',
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
      e.status, e.connect + e.read + e.write + e.timeout))
end
