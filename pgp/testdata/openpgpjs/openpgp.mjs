// Opens and makes what the programs that Debian has cannot.
//
//   node openpgp.mjs generate-key v4|v6 ADDRESS          a secret key that reads SEIPD version 2
//   node openpgp.mjs extract-cert SECRET                 its certificate
//   node openpgp.mjs decrypt SECRET SIGNER VERIFIED      standard input to standard output; who signed it into VERIFIED
import fs from 'node:fs';
import * as openpgp from 'openpgp';

const [command, ...args] = process.argv.slice(2);
const read = (file) => fs.readFileSync(file, 'utf8');

// write returns once all of it is written: a pipe takes less at a time.
const write = (data) => new Promise((done) => process.stdout.write(data, done));

switch (command) {
  case 'generate-key': {
    const { privateKey } = await openpgp.generateKey({
      type: 'curve25519', userIDs: [{ email: args[1] }], date: new Date('2025-03-01T08:00:00Z'), format: 'armored',
      config: { v6Keys: args[0] === 'v6', aeadProtect: true },
    });
    await write(privateKey);
    break;
  }
  case 'extract-cert':
    await write((await openpgp.readPrivateKey({ armoredKey: read(args[0]) })).toPublic().armor());
    break;
  case 'decrypt': {
    const { data, signatures } = await openpgp.decrypt({
      message: await openpgp.readMessage({ armoredMessage: read(0) }),
      decryptionKeys: await openpgp.readPrivateKey({ armoredKey: read(args[0]) }),
      verificationKeys: await openpgp.readKey({ armoredKey: read(args[1]) }),
      expectSigned: true,
      format: 'binary',
    });
    for (const s of signatures) {
      await s.verified;
      const packet = (await s.signature).packets[0];
      fs.appendFileSync(args[2], Buffer.from(packet.issuerFingerprint).toString('hex').toUpperCase() + '\n');
    }
    await write(data);
    break;
  }
  default:
    throw new Error('no such command: ' + command);
}
