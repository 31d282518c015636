from relo_ingest.cli import main

raise SystemExit(main())
