-- Signed webhooks from a file that bench_sync.py wrote: signature, length, body, repeated.
-- When all were sent it begins again: Stripe redelivers too.

done = require "summary"

local requests, at = {}, 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   local host = wrk.headers["Host"]
   while true do
      local signature = file:read("*l")
      if not signature then break end
      local body = file:read(tonumber(file:read("*l")))
      file:read(1)
      requests[#requests + 1] = "POST /postback/stripe/demo HTTP/1.1\r\nHost: " .. host
         .. "\r\nUser-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\nAccept: */*; q=0.5, application/xml"
         .. "\r\nCache-Control: no-cache\r\nContent-Type: application/json; charset=utf-8\r\nStripe-Signature: " .. signature
         .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
   end
   file:close()
end

function request()
   at = at % #requests + 1
   return requests[at]
end
