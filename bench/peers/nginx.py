"""nginx writing a buffered access log and answering 204: the lossy beacon, in C.

The log line is the event, so the fields stand in the query of a GET: nginx throws the body of a POST away when it
answers by itself. Nothing is checked, and what is in the buffer dies with the process.
``python -m bench.peers.nginx PORT``; settings as in https://nginx.org/en/docs/http/ngx_http_log_module.html, the log
and all else in the working directory.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

CONFIGURATION = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log nginx-error.log error;
events {{ worker_connections 4096; }}
http {{
    log_format beacon escape=json '{{"at":$msec,"ip":"$remote_addr","args":"$args","agent":"$http_user_agent"}}';
    access_log nginx-beacons.log beacon buffer=64k flush=1s;
    client_body_temp_path nginx-body; proxy_temp_path nginx-proxy; fastcgi_temp_path nginx-fastcgi;
    uwsgi_temp_path nginx-uwsgi; scgi_temp_path nginx-scgi;
    keepalive_requests 1000000000;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location / {{ return 204; }}
    }}
}}
"""

if __name__ == "__main__":
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin") or sys.exit("nginx is missing")
    configuration = Path("nginx.conf").absolute()
    configuration.write_text(CONFIGURATION.format(port=int(sys.argv[1])))
    prefix = str(configuration.parent)
    os.execv(program, [program, "-p", prefix, "-c", str(configuration), "-e", f"{prefix}/nginx-error.log"])
