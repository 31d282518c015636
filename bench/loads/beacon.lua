-- One page view per request: the fields r.js sends, the headers Chrome sends, a different event_id each time.
-- application/json and not the pixel's text/plain: FastAPI reads nothing else, and all contenders get the same bytes.
-- Arguments: path (default /e).

done = require "summary"

local ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
local PAGES = {
   { "/", "Home" },
   { "/products/linen-shirt?variant=sand&size=m", "Linen shirt in sand, Demo shop" },
   { "/products/canvas-bag?utm_source=newsletter&utm_campaign=autumn", "Canvas bag, Demo shop" },
   { "/cart", "Your cart, Demo shop" },
   { "/checkout/shipping?step=2", "Shipping, Demo shop" },
}
local HEADERS = {
   "User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
   'sec-ch-ua: "Chromium";v="142", "Google Chrome";v="142", "Not_A Brand";v="99"',
   "sec-ch-ua-mobile: ?0",
   'sec-ch-ua-platform: "Windows"',
   "Accept: */*",
   "Origin: https://shop.example.com",
   "Sec-Fetch-Site: cross-site",
   "Sec-Fetch-Mode: cors",
   "Sec-Fetch-Dest: empty",
   "Referer: https://shop.example.com/",
   "Accept-Encoding: gzip, deflate, br, zstd",
   "Accept-Language: en-US,en;q=0.9,es;q=0.8",
   "Content-Type: application/json",
}

local pairs_of, head, tails, devices = {}, nil, {}, {}
local prefix, counter, made_at, stamp
local zeros = "00"

local function char(n) return ALPHABET:sub(n + 1, n + 1) end

local function random_text(length)
   local text = {}
   for i = 1, length do text[i] = char(math.random(0, 31)) end
   return table.concat(text)
end

local function time_text(ms)
   local text = ""
   for _ = 1, 10 do
      text = char(ms % 32) .. text
      ms = math.floor(ms / 32)
   end
   return text
end

local function seed()
   local file = assert(io.open("/dev/urandom", "rb"))
   local a, b, c = file:read(3):byte(1, 3)
   file:close()
   math.randomseed(a * 65536 + b * 256 + c)
end

function init(arguments)
   seed()
   made_at = os.time() * 1000
   prefix = time_text(made_at) .. random_text(8)
   counter = 0
   stamp = string.format("%d", made_at)
   for i = 0, 1023 do pairs_of[i] = char(math.floor(i / 32)) .. char(i % 32) end
   for i = 0, 511 do devices[i] = time_text(made_at - i * 60000) .. random_text(16) end
   for i, page in ipairs(PAGES) do
      tails[i - 1] = string.format(
         ',"url":"https://shop.example.com%s","referrer":"https://shop.example.com/","title":"%s","lang":"en-US","screen":"1920x1080"}',
         page[1], page[2])
   end
   head = string.format("POST %s HTTP/1.1\r\nHost: %s\r\n%s\r\nContent-Length: ",
      arguments[1] or "/e", wrk.headers["Host"], table.concat(HEADERS, "\r\n"))
end

-- 10 characters of time, 8 random ones, 8 of the counter.
local function event_id()
   local n = counter
   counter = n + 1
   return prefix .. zeros .. pairs_of[math.floor(n / 1048576)] .. pairs_of[math.floor(n / 1024) % 1024] .. pairs_of[n % 1024]
end

function request()
   local device = devices[counter % 512]
   local body = '{"client_id":1,"event":"page","event_id":"' .. event_id() .. '","ts":' .. stamp
      .. ',"cid":"' .. device .. '","did":"' .. device .. '"' .. tails[counter % 5]
   return head .. #body .. "\r\n\r\n" .. body
end
