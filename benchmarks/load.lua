-- For wrk: POST the lines of the file BODIES to PATH_, one after the other, from FIRST on; prints one line of JSON.
-- With DELAY, each connection waits so many milliseconds before a request, on average.
local bodies, count = {}, 0
for line in io.lines(os.getenv("BODIES")) do
  count = count + 1
  bodies[count] = wrk.format("POST", os.getenv("PATH_"), {["Content-Type"] = "application/json"}, line)
end
local at, delay_ms = 0, tonumber(os.getenv("DELAY") or "0")
function request()
  at = at % count + 1
  return bodies[at]
end
if delay_ms > 0 then
  function delay() return math.floor(delay_ms + math.random()) end
end
function done(summary, latency, requests)
  local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.timeout
  io.write(string.format(
    '\nRESULT {"calls": %d, "seconds": %.6f, "errors": %d, "p50": %.3f, "p99": %.3f}\n', summary.requests,
    summary.duration / 1e6, errors, latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
