package main

// peers are the servers whose reports are read. Each is configured as little as can
// be.
var peers = []peer{postfixPeer, eximPeer, openSMTPDPeer, courierPeer, sendmailPeer}

var postfixPeer = peer{
	name: "postfix", program: "usr/sbin/postfix",
	files: map[string]string{
		"etc/postfix/main.cf": `compatibility_level = 3.6
maillog_file = /dev/stdout
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
local_recipient_maps =
smtp_tls_security_level = none
smtp_host_lookup = native
delay_warning_time = 1s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
transport_maps = inline:{ postfix.test=smtp:[127.0.0.1]:{far}, gw.test=smtp:[127.0.0.1]:{back} }
smtpd_recipient_restrictions = permit_mynetworks, reject
`,
		"etc/postfix/master.cf": `127.0.0.1:{own} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
`,
	},
	start: "rm -rf /var/spool/postfix/pid/*; postfix start-fg\n",
}

var eximPeer = peer{
	name: "exim", program: "usr/sbin/exim4", users: []string{"Debian-exim"},
	files: map[string]string{"etc/exim4/exim4.conf": `primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {own}
qualify_domain = exim.test
acl_smtp_rcpt = accept
tls_advertise_hosts =
dsn_advertise_hosts = *
rfc1413_hosts =
delay_warning = 1s
host_lookup =
begin routers
far:
  driver = manualroute
  domains = exim.test
  transport = far
  route_list = * 127.0.0.1
  self = send
back:
  driver = manualroute
  transport = back
  route_list = * 127.0.0.1
  self = send
begin transports
far:
  driver = smtp
  port = {far}
  allow_localhost
  hosts_avoid_tls = *
back:
  driver = smtp
  port = {back}
  allow_localhost
  hosts_avoid_tls = *
begin retry
* * F,1h,1s
`},
	start: `mkdir -p /var/spool/exim4 /var/log/exim4
chown -R Debian-exim /var/spool/exim4 /var/log/exim4
exim4 -bdf -q1s
`,
}

var openSMTPDPeer = peer{
	name: "opensmtpd", program: "usr/sbin/smtpd", users: []string{"opensmtpd", "opensmtpq"},
	files: map[string]string{"etc/smtpd.conf": `bounce warn-interval 1s
listen on 127.0.0.1 port {own} hostname opensmtpd.test
action far relay host smtp://127.0.0.1:{far}
action back relay host smtp://127.0.0.1:{back}
match from any for domain opensmtpd.test action far
match from any for domain gw.test action back
`},
	start: `mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty /run/opensmtpd
chmod 711 /var/spool/smtpd
smtpd -d -f /etc/smtpd.conf
`,
}

var courierPeer = peer{
	name: "courier", program: "usr/sbin/couriertcpd", late: true, users: []string{"courier"},
	files: map[string]string{
		"etc/courier/me": "courier.host.test\n", "etc/courier/defaultdomain": "courier.host.test\n", "etc/courier/locals": "courier.host.test\n",
		"etc/courier/esmtproutes":        "courier.test:[127.0.0.1],{far}\ngw.test:[127.0.0.1],{back}\n",
		"etc/courier/esmtpacceptmailfor": "courier.test\ngw.test\n",
		"etc/courier/warntime":           "1s\n", "etc/courier/retryalpha": "1s\n", "etc/courier/retrybeta": "1s\n",
		"etc/courier/smtpaccess/default": "127\tallow,RELAYCLIENT\n",
	},
	// It returns nothing that came by SMTP unless it is told to.
	start: `ln -sf /usr/lib/courier/makedat /usr/bin/makedat
sed -i 's/^ESMTP_BLOCKBACKSCATTER=.*/ESMTP_BLOCKBACKSCATTER=/; s/^ESMTP_USE_STARTTLS=.*/ESMTP_USE_STARTTLS=0/' /etc/courier/courierd
mkdir -p /run/courier
for d in tmp msgs msgq track filters allfilters; do mkdir -p /var/lib/courier/$d; done
chown -R courier:courier /var/lib/courier /run/courier
chown courier:courier /usr/lib/courier/courier/submitmkdir
chmod 4755 /usr/lib/courier/courier/submitmkdir
chown -R root:courier /etc/courier
makesmtpaccess
makealiases
courier start
export BOFHCHECKDNS=0 TARPIT=0 NOADDMSGID=1 NOADDDATE=1
couriertcpd -address=127.0.0.1 -user=courier -group=courier -access=/etc/courier/smtpaccess.dat -maxprocs=40 -maxperip=20 -nodnslookup -noidentlookup {own} /usr/lib/courier/courier/modules/esmtp/courieresmtpd
`,
}

var sendmailPeer = peer{
	name: "sendmail", program: "usr/libexec/sendmail/sendmail", users: []string{"smmta", "smmsp"},
	files: map[string]string{
		"etc/mail/postern.mc": "include(`/usr/share/sendmail/cf/m4/cf.m4')dnl\nOSTYPE(`linux')dnl\n" +
			"define(`confDOMAIN_NAME', `host.sendmail.test')dnl\ndefine(`confDONT_PROBE_INTERFACES', `True')dnl\ndefine(`confTO_IDENT', `0')dnl\n" +
			"define(`RELAY_MAILER_ARGS', `TCP $h {far}')dnl\ndefine(`ESMTP_MAILER_ARGS', `TCP $h {back}')dnl\n" +
			"undefine(`ALIAS_FILE')dnl\ndefine(`confTO_QUEUEWARN', `1s')dnl\ndefine(`confPID_FILE', `/run/sendmail.pid')dnl\n" +
			"define(`confREFUSE_LA', `1000')dnl\ndefine(`confQUEUE_LA', `1000')dnl\nFEATURE(`no_default_msa')dnl\nFEATURE(`nocanonify')dnl\nFEATURE(`accept_unresolvable_domains')dnl\nFEATURE(`promiscuous_relay')dnl\nFEATURE(`mailertable', `hash /etc/mail/mailertable')dnl\n" +
			"DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={own}')dnl\nMAILER(`smtp')dnl\n",
		"etc/mail/mailertable":      "sendmail.test\trelay:[127.0.0.1]\ngw.test\tesmtp:[127.0.0.1]\n",
		"etc/mail/local-host-names": "localhost\n",
	},
	start: `m4 /etc/mail/postern.mc > /etc/mail/sendmail.cf
chmod 755 / /etc /etc/mail
mkdir -p /var/spool/mqueue
chmod 700 /var/spool/mqueue
makemap=/usr/libexec/sendmail/makemap
$makemap hash /etc/mail/mailertable < /etc/mail/mailertable
/usr/libexec/sendmail/sendmail -bD -q1s -C/etc/mail/sendmail.cf
`,
}
