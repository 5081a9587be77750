"""aiosmtpd: mail servers that know one login, one for each way to encrypt. Prints their
ports as JSON and ends with its standard input.

    mail.py CERTIFICATE KEY USER PASSWORD
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

certificate, key, user, password = sys.argv[1:]


def authenticate(server, session, envelope, mechanism, data):
    login = (data.login.decode(), data.password.decode())
    # Not handled: aiosmtpd says 535 itself.
    return AuthResult(success=login == (user, password), handled=False)


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    loop = asyncio.get_running_loop()

    def smtp(**more):
        return lambda: SMTP(None, authenticator=authenticate, **more)

    ways = {
        "implicit": (smtp(auth_require_tls=False), context),
        "starttls": (smtp(tls_context=context, require_starttls=True), None),
        "plain": (smtp(auth_require_tls=False), None),
        "login_only": (smtp(auth_require_tls=False, auth_exclude_mechanism=["PLAIN"]), None),
    }
    ports = {}
    for name, (factory, tls) in ways.items():
        server = await loop.create_server(factory, "127.0.0.1", 0, ssl=tls)
        ports[name] = server.sockets[0].getsockname()[1]
    print(json.dumps(ports), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
