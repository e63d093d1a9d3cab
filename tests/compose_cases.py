"""Compose projects in all forms that the specification has, as file name → text. The first is `compose.yaml`."""

from __future__ import annotations

FORMS = """
services:
  web:
    image: "web:${TAG:-1}"
    command: python3 -m "my server" $$HOME
    entrypoint: ["/entry.sh", "now"]
    environment: {PORT: 8000, OCTAL: 0777, FLOAT: 1.10, YES: yes, NO: "no", BIG: 1_000, EMPTY: "", TOKEN: }
    ports: ["22:22", "127.0.0.1:8080-8081:80-81", {target: 443, published: "8443"}, "53:53/udp"]
    expose: ["9000", 9001]
    init: true
    tty: "true"
    user: "1000:1000"
    working_dir: /srv
    mem_limit: 64m
    cpus: "0.5"
    stop_signal: SIGQUIT
    stop_grace_period: 1m30s
    ulimits: {nofile: 1024, nproc: {soft: 1, hard: 2}}
    healthcheck: {test: curl -f localhost, interval: 5s, timeout: 1s, retries: 2, start_period: 3s}
    extra_hosts: ["db:10.0.0.5"]
    sysctls: {net.core.somaxconn: 1024}
    labels: [a=1, b]
    tmpfs: /run
    shm_size: 128m
    hostname: w
    depends_on: [db]
  db:
    image: db
    environment: [PASSWORD=a=b, TOKEN, "SAID=${WORDS:+some}"]
    volumes: [data:/data, "./conf:/conf:ro", {type: tmpfs, target: /t, tmpfs: {size: 1048576}}, /anonymous]
    deploy: {resources: {limits: {memory: 1g, cpus: "0.25", pids: 100}}}
    networks: {back: {aliases: [database]}, default: }
    cap_add: [NET_ADMIN]
    security_opt: ["no-new-privileges:true"]
networks: {back: {internal: true}}
volumes: {data: }
"""

ORDER = """
services:
  web:
    image: web
    depends_on:
      db: {condition: service_healthy}
      migration: {condition: service_completed_successfully}
      cache: {condition: service_started, required: false}
    links: ["queue:q"]
  db: {image: db, healthcheck: {test: [CMD, "true"]}}
  migration: {image: m, depends_on: [db]}
  cache: {image: c, profiles: [fast]}
  queue: {image: q, scale: 2, stop_grace_period: 3s}
  side: {image: s, network_mode: "service:web", pid: "service:db", volumes_from: ["queue:ro"]}
  other: {image: o}
"""

ANCHORS = """
x-common: &common
  image: base
  environment: &env {LEVEL: info, NAME: "${NAME-nobody}"}
  restart: always
services:
  a:
    <<: *common
    environment: {<<: *env, LEVEL: debug}
  b:
    <<: [*common, {command: run}]
    image: other
"""

BASE = """
services:
  web:
    image: web
    command: [serve]
    environment: [A=1, B=2]
    ports: ["80:80"]
    volumes: ["./one:/srv", "named:/data"]
    depends_on: [db]
    dns: 1.1.1.1
    cap_add: [SYS_PTRACE]
    healthcheck: {test: [CMD, a], interval: 1s}
    stop_grace_period: 5s
  db: {image: db}
  gone: {image: gone}
volumes: {named: }
"""

OVER = """
services:
  web:
    command: [debug]
    environment: {B: 3, C: 4}
    ports: ["81:81", "80:80"]
    volumes: ["./two:/srv"]
    depends_on: {cache: {condition: service_started}}
    dns: [8.8.8.8]
    cap_add: [SYS_PTRACE, NET_RAW]
    healthcheck: {test: [CMD, b]}
    stop_grace_period: !reset null
  db:
    image: db
    environment: !override {ONLY: this}
  cache: {image: cache}
  gone: !reset null
"""

EXTENDS = """
services:
  web:
    extends: {file: common/base.yaml, service: app}
    environment: {LEVEL: debug}
    command: [serve]
  worker:
    extends: web
    command: [work]
    depends_on: [db]
  db: {image: db}
"""

COMMON = """
services:
  root:
    image: root
    environment: {LEVEL: info, ROOT: "1"}
    env_file: [root.env]
    cap_add: [NET_RAW]
  app:
    extends: root
    build: ./src
    environment: [APP=1]
    volumes: ["./conf:/conf"]
    stop_signal: SIGINT
"""

INCLUDES = """
include:
  - db/compose.yaml
  - path: [cache/compose.yaml, cache/more.yaml]
    env_file: cache.env
services:
  web: {image: web, depends_on: [db, cache]}
"""

CASES: dict[str, dict[str, str]] = {
    "forms": {"compose.yaml": FORMS, "conf/app.json": "{}"},
    "order": {"compose.yaml": ORDER},
    "anchors": {"compose.yaml": ANCHORS},
    "several files": {"compose.yaml": BASE, "over.yaml": OVER, "one/x": "", "two/x": ""},
    "extends": {
        "compose.yaml": EXTENDS,
        "common/base.yaml": COMMON,
        "common/root.env": "LEVEL=file\nFILE=root",
        "common/src/Dockerfile": "FROM scratch",
        "common/conf/x": "",
    },
    "includes": {
        "compose.yaml": INCLUDES,
        "db/compose.yaml": "services: {db: {image: 'db:${TAG}', env_file: db.env, volumes: [data:/d]}}\n"
        "volumes: {data: }",
        "db/.env": "TAG=7",
        "db/db.env": "LEVEL=db",
        "cache/compose.yaml": "services: {cache: {image: 'cache:${SIZE:-small}', labels: {a: b}}}",
        "cache/more.yaml": "services: {cache: {stop_grace_period: 2s}}",
        "cache.env": "SIZE=large",
    },
    "variables": {
        "compose.yaml": "services: {a: {image: 'x:${A:-${B:-c}}${D}', environment: {E: '$${E}', F: '${F?}', G: $G}}}",
        ".env": "B=b\nF='f $x'\nG=\"g ${B}\"\n",
    },
    "env files": {
        "compose.yaml": "services: {a: {image: a, env_file: [one.env, {path: gone.env, required: false}, two.env], "
        "environment: [LEVEL=last]}}",
        "one.env": 'A=1 # said\nB=\'$A\'\nC="${A}x"\nLEVEL=one\nexport D=d\n# no\nQ="a\\nb"\nH=x#y\n',
        "two.env": "A=2\nE=${A}\n",
    },
    "documents": {"compose.yaml": "services: {a: {image: a, command: [x]}}\n---\nservices: {a: {image: b}}\n"},
    "build": {
        "compose.yaml": "services:\n  a: {build: .}\n"
        "  b: {build: {context: src, dockerfile: D, target: dev, args: [A=1, B]}, image: named}\n",
        "Dockerfile": "FROM scratch",
        "src/D": "FROM scratch",
    },
    "networks": {
        "compose.yaml": "services:\n  a: {image: a, networks: [front, proxy]}\n  b: {image: b, network_mode: host}\n"
        "  c: {image: c, network_mode: none}\nnetworks: {front: {driver: bridge}, proxy: {external: true}}\n"
    },
    "secrets": {
        "compose.yaml": "services: {a: {image: a, secrets: [token, {source: key, target: /k}], configs: [conf]}}\n"
        "secrets: {token: {file: ./token}, key: {file: key}}\nconfigs: {conf: {file: ./conf.json}}\n",
        "token": "x",
        "key": "y",
        "conf.json": "{}",
    },
    "profiles": {
        "compose.yaml": "services: {a: {image: a}, b: {image: b, profiles: [p]}, c: {image: c, profiles: [q]}}",
        ".env": "COMPOSE_PROFILES=q\n",
    },
}
"""Each is read alike by Compose and by our own reader."""

MISTAKES: dict[str, tuple[dict[str, str], str]] = {
    "a service that is not there": (
        {"compose.yaml": "services:\n  a:\n    image: a\n    depends_on: [b]\n"},
        "compose.yaml:4:18: services.a.depends_on.0: there is no service 'b'; the only one is 'a' itself",
    ),
    "services that wait for each other": (
        {"compose.yaml": "services:\n  a:\n    image: a\n    depends_on: [b]\n  b: {image: b, links: [a]}\n"},
        "compose.yaml:4:18: services.a.depends_on.0: the services wait for each other: a → b → a",
    ),
    "an env_file that is not there": (
        {"compose.yaml": "services:\n  a:\n    image: a\n    env_file: [gone.env]\n"},
        "compose.yaml:4:16: services.a.env_file.0: there is no file gone.env",
    ),
    "a network that is not there": (
        {"compose.yaml": "services:\n  a:\n    image: a\n    networks: [n]\n"},
        "compose.yaml:4:16: services.a.networks.0: there is no network 'n'; networks: none",
    ),
    "a volume that is not there": (
        {"compose.yaml": "services:\n  a:\n    image: a\n    volumes: [named:/n]\n"},
        "compose.yaml:4:15: services.a.volumes.0: there is no volume 'named'",
    ),
    "a file to extend that is not there": (
        {"compose.yaml": "services:\n  a:\n    extends: {file: gone.yaml, service: b}\n"},
        "compose.yaml:3:5: there is no file gone.yaml",
    ),
    "a service to extend that is not there": (
        {"compose.yaml": "services:\n  a:\n    extends: b\n"},
        "compose.yaml:3:5: there is no service 'b' to extend in compose.yaml; services: a",
    ),
    "services that extend each other": (
        {"compose.yaml": "services:\n  a: {image: a, extends: b}\n  b: {extends: a}\n"},
        "the services extend each other: a → b → a",
    ),
    "files that include each other": (
        {"compose.yaml": "include: [b.yaml]\n", "b.yaml": "include: [compose.yaml]\n"},
        "b.yaml:1:11: the files include each other: compose.yaml → b.yaml → compose.yaml",
    ),
    "a variable that must be set": (
        {"compose.yaml": "services:\n  a:\n    image: 'a:${TAG:?which}'\n"},
        "compose.yaml:3:5: variable TAG is needed: which",
    ),
    "a variable of no form": (
        {"compose.yaml": "services:\n  a:\n    image: 'a:${1}'\n"},
        "compose.yaml:3:5: '${1}' is no variable; write $$ where a dollar sign is meant",
    ),
    "a key that stands twice": (
        {"compose.yaml": "services:\n  a: {image: a}\n  a: {image: b}\n"},
        "compose.yaml:3:3: a: this key stands twice, first in line 2; remove one",
    ),
}
"""Each is refused by both; ours with its line."""
