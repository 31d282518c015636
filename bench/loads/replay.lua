-- Whole requests from a file that bench/harness/requests.py wrote: length, bytes, repeated.
-- When all were sent it begins again: browsers and Stripe send things twice too.

done = require "summary"

local requests, at = {}, 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   while true do
      local length = file:read("*l")
      if not length then break end
      requests[#requests + 1] = file:read(tonumber(length))
   end
   file:close()
end

function request()
   at = at % #requests + 1
   return requests[at]
end
