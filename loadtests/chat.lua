-- wrk with eyes: every answer's body is checked, not only its status. With `ztoapi demo` in another terminal:
--
--   wrk -t 2 -c 16 -d 10s -s loadtests/chat.lua http://127.0.0.1:9090
--
-- A good answer has status 200, every event that was asked for, and [DONE]. The last line printed is JSON; the exit code
-- is 3 if any answer was not good, or none came. wrk is a closed loop: while the gateway stalls, it does not ask.
-- ZTOAPI_LOAD_MODEL, ZTOAPI_LOAD_KEY and ZTOAPI_LOAD_REAL=1 are as for the locust scenarios.

local TOKENS, REASONING = 32, 4
local FINISH = 1 -- the event that has the finish_reason and no text

local real = os.getenv("ZTOAPI_LOAD_REAL")
local model = os.getenv("ZTOAPI_LOAD_MODEL") or "glm-5.3"
local settings = real and "" or string.format(":tokens=%d:reasoning=%d:ttft=0:itl=0", TOKENS, REASONING)
local limit = real and string.format('"max_tokens":%d,', TOKENS) or ""

wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. (os.getenv("ZTOAPI_LOAD_KEY") or "any")
wrk.body = string.format(
  '{"model":"%s%s","stream":true,%s"messages":[{"role":"user","content":"Hello"}]}', model, settings, limit
)

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

-- What follows runs in each thread; done() reads these globals through thread:get.
checked, bad_status, no_done, wrong_events = 0, 0, 0, 0

function response(status, headers, body)
  checked = checked + 1
  if status ~= 200 then
    bad_status = bad_status + 1
  elseif not body:find("data: [DONE]", 1, true) then
    no_done = no_done + 1
  elseif not real then
    local _, events = body:gsub('data: {"id"', "")
    if events ~= TOKENS + REASONING + FINISH then
      wrong_events = wrong_events + 1
    end
  end
end

function done(summary, latency, requests)
  local total = { checked = 0, bad_status = 0, no_done = 0, wrong_events = 0 }
  for _, thread in ipairs(threads) do
    for name, count in pairs(total) do
      total[name] = count + thread:get(name)
    end
  end
  local errors = summary.errors
  local socket_errors = errors.connect + errors.read + errors.write + errors.timeout
  local bad = total.bad_status + total.no_done + total.wrong_events + socket_errors
  print(string.format(
    '{"requests":%d,"bad_status":%d,"no_done":%d,"wrong_events":%d,"socket_errors":%d,'
      .. '"requests_per_second":%.1f,"p50_ms":%.3f,"p90_ms":%.3f,"p99_ms":%.3f,"max_ms":%.3f}',
    total.checked, total.bad_status, total.no_done, total.wrong_events, socket_errors,
    summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1000, latency:percentile(90) / 1000, latency:percentile(99) / 1000, latency.max / 1000
  ))
  io.stdout:flush()
  if bad > 0 or total.checked == 0 then
    os.exit(3)
  end
end
