// A beacon on Node's own http server: the body is read and parsed, nothing is stored, 204.
'use strict'
const http = require('node:http')

const server = http.createServer((request, response) => {
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    try {
      if (chunks.length) JSON.parse(Buffer.concat(chunks))
      response.writeHead(204).end()
    } catch {
      response.writeHead(400).end()
    }
  })
})
server.keepAliveTimeout = 60_000
server.listen(Number(process.argv[2]), '127.0.0.1', 2048)
