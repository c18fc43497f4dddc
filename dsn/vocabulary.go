package dsn

// The words of bounces, in lower case.

// delaySubjects are in the subjects of delay warnings.
var delaySubjects = []string{"delayed", "delay)", "delay notification", "delay warning", "still being retried", "still trying", "warning: message",
	"warning: could not send", "transient delivery failure", "temporary failure", "temporary delivery", "verzögert", "verzögerung", "retardé", "en attente de remise",
	"retrasado", "se ha retrasado", "ritardo", "atrasada", "vertraagd", "försenad", "opóźnion", "задерж", "遅延", "延迟", "配信遅延"}

// bounceSubjects are in the subjects of bounces.
var bounceSubjects = []string{"undeliver", "non-deliver", "nondeliver", "non deliver", "not deliver", "not be deliver", "not been deliver", "delivery status notification",
	"delivery status", "delivery fail", "delivery error", "delivery problem", "delivery has failed", "delivery report", "delivery notification", "failure notice", "failed mail",
	"failed delivery", "mail failure", "mail delivery", "mail error", "message delivery", "failed to deliver", "unable to deliver", "cannot be delivered", "can't be delivered",
	"couldn't be delivered", "could not be delivered", "returned mail", "mail returned", "returned to sender", "returned to the sender", "return to sender",
	"returned message", "returned email", "message you sent", "rejected", "mail system error", "dsn:", "error sending", "message status", "message error",
	"bounced mail", "bounce message", "bounce notification", "bounced email", "email bounce", "mailbox full", "postmaster notify", "nondelivery", "ndn:", "ndr:", "permanent delivery", "message blocked", "was blocked",
	"failure delivery", "failure sending", "mail not sent", "was not sent", "not sent:", "user unknown", "unknown user", "recipient unknown", "address unknown", "message failed",
	"unzustellbar", "nicht zugestellt", "nicht zustellbar", "nicht zustellen", "zustellung fehlgeschlagen", "zustellfehler", "zustellungsfehler", "fehlgeschlagen", "zurückgewiesen",
	"non remis", "non distribu", "non délivr", "non delivr", "échec", "echec de", "impossible de remettre", "impossible de distribuer", "message refusé",
	"non recapitat", "mancato recapito", "mancata consegna", "consegna non riuscita", "impossibile recapitare", "impossibile consegnare", "non consegnat",
	"no se pudo entregar", "no se ha podido entregar", "no entregad", "no se puede entregar", "correo devuelto", "mensaje devuelto", "no entregable", "error de entrega",
	"não entregue", "nao entregue", "falha na entrega", "não foi possível entregar", "devolvid", "falha no envio",
	"onbestelbaar", "niet afgeleverd", "niet bezorgd", "kunde inte levereras", "går inte att leverera", "olevererbar", "kan ikke leveres", "ikke leveret", "ikke levert",
	"ei voitu toimittaa", "toimitus epäonnistui", "nie można dostarczyć", "niedostarczon", "niedostarczaln", "zwrot poczty", "nedoručiteln", "nedoručen", "doručení se nezdařilo",
	"teslim edilemedi", "iletilemedi", "kézbesíthetetlen", "nem kézbesíthető", "δεν παραδόθηκε", "αδύνατη η παράδοση",
	"не доставлен", "не было доставлен", "недоставлен", "не может быть доставлен", "невозможно доставить", "ошибка доставки", "возвращ",
	"配信不能", "配信できません", "送信できません", "配送できません", "送達できません", "配信エラー", "送信エラー", "エラーメール", "メールエラー", "エラー通知", "未配信", "返送", "戻り",
	"未达", "退信", "退回", "失败", "无法送达", "無法送達", "無法傳遞", "无法投递", "未送达", "投递失败", "发送失败", "반송", "배달되지", "전달되지", "전송 실패", "배달 실패"}

// failureSubjects are those that say it all: the words below them are perhaps in a
// language that is not known here.
var failureSubjects = []string{"undeliverable", "undelivered", "non-deliver", "nondeliver", "delivery failure", "delivery failed", "delivery has failed", "failure notice", "mail failure",
	"returned mail", "returned to sender", "failed delivery", "failed mail", "(failure)", "unzustellbar", "non remis", "mancato recapito", "no entregado", "falha na entrega", "недоставлен",
	"配信不能", "退信", "user unknown", "error sending", "邮件发送失败"}

// bounceSigns are in the words of bounces, and of nothing else, so that the subject
// need not say more.
var bounceSigns = []string{"trouble delivering your message", "error sending message", "failure reasons --", "reason of the delivery failure",
	"delivery to the following recipient", "the following recipients were rejected", "rejected by a remote mail server", "permanent fatal errors", "permanent delivery errors",
	"could not be delivered to", "could not deliver message to", "unable to deliver message to", "unable to deliver your message to", "failed to deliver to", "your message to the following",
	"your message cannot be delivered", "your message could not be delivered", "your mail could not be delivered", "message was not delivered to",
	"was not delivered to the following", "following recipient(s) could not be reached", "did not reach the following recipient",
	"error message below", "list of failed recipients", "failed addresses follow", "machine generated message from mail service",
	"did not receive a copy of your message", "undeliverable address:", "user's mailbox is full:", "email below could not be delivered", "recipients was aborted",
	"message could not be delivered", "invalid final delivery", "failed recipients --", "encountered delivery problems", "this is the deliver program at", "message not delivered to",
	"returned mail follows", "unable to deliver mail", "the following addresses had", "message from interscan", "no such user here",
	"message undeliverable", "mail was undeliverable", "message was undeliverable", "returning message to sender", "returning the message to", "mail has been returned because", "message has been returned because"}

// formSigns are the headings of forms that no person fills in.
var formSigns = []string{"failure reasons --", "failed recipients --", "failed addresses follow", "machine generated message from mail service", "message from interscan",
	"--- session transcript", "transcript of session follows"}

// failureWords say that a message will not be delivered.
var failureWords = []string{"could not be delivered", "couldn't be delivered", "cannot be delivered", "can't be delivered", "can not be delivered", "could not deliver", "cannot deliver",
	"couldn't deliver", "not delivered", "not be delivered", "wasn't delivered", "not able to be delivered", "not been delivered to", "undeliverable", "undelivered", "non-delivered",
	"unable to deliver", "failed to deliver", "delivery failed", "delivery has failed", "delivery failure", "failed delivery", "did not reach", "could not be reached",
	"permanent error", "permanent failure", "permanently", "was aborted after", "delivery was aborted", "attempts to deliver", "delivery attempts failed", "fatal error", "delivery error", "delivery problems", "has been rejected", "was rejected", "rejected your message", "rejected recipient",
	"rejected by", "returned to you", "being returned", "returned to sender", "giving up", "could not be sent", "trouble delivering", "unsuccessful delivery", "error sending message",
	"has been blocked", "was blocked", "no longer accepts", "mail address is invalid", "address is incorrect", "failure reasons", "not possible to deliver", "was aborted", "did not receive a copy of your message", "list of failed recipients", "failed recipients --", "undeliverable address", "invalid final delivery",
	"encountered delivery problems", "failed addresses", "has been returned because", "permanent delivery", "no such user", "user unknown", "mailbox is full",
	"nicht zugestellt", "nicht zustellen", "unzustellbar", "fehlgeschlagen", "n'a pas pu", "n'a pas été remis", "n'a pas été distribué", "impossible de", "échec de la remise",
	"non è stato possibile", "non può essere", "non è stato consegnato", "impossibile", "no se pudo", "no pudo ser", "no se ha podido", "no ha podido", "no puede ser entregado",
	"não pôde ser", "nao pode ser", "não foi possível", "não foi entregue", "não pode ser entregue", "kon niet worden", "niet worden bezorgd", "kan niet worden",
	"kunde inte", "går inte att", "kunne ikke", "kan ikke leveres", "ei voitu", "epäonnistui", "nie można", "nie mogła", "nelze doručit", "nebylo možné", "nepodařilo se",
	"teslim edilem", "iletilemedi", "nem sikerült", "δεν ήταν δυνατ", "не может быть доставлен", "не было доставлен", "не удалось доставить", "невозможно доставить", "не доставлен",
	"送信できません", "配信できません", "配送できません", "送達できません", "配信に失敗", "送信に失敗", "エラーが発生", "配信不能",
	"无法投递", "无法送达", "无法发送", "被退回", "投递失败", "发送失败", "未能送达", "無法傳遞", "無法送達", "退信原因", "배달되지", "전달할 수 없", "배달할 수 없"}

// delayWords say that it may still be.
var delayWords = []string{"warning message only", "this is a warning", "just a warning", "advisory-only", "has been postponed", "is only a warning", "not yet been delivered", "not been delivered yet", "not yet delivered", "has been delayed", "is delayed",
	"is being delayed", "will be retried", "will retry", "will continue to try", "will continue trying", "continue to attempt", "will keep trying", "still trying", "still being retried", "keep trying", "do not need to resend",
	"need not resend", "no need to resend", "no action is required", "non-fatal delivery errors", "delivery attempts will continue", "further attempts will be made", "remains in the queue", "still in the queue",
	"noch nicht zugestellt", "wird weiter versucht", "weitere zustellversuche", "verzögert sich", "pas encore été remis", "nouvelles tentatives", "aún no se ha entregado",
	"non è stato ancora", "ainda não foi entregue", "ещё не доставлено", "еще не доставлено", "будут продолжены", "再送を試み", "まだ配信されていません"}

// successWords say that it was.
var successWords = []string{"successfully delivered", "was successfully delivered", "has been delivered", "have been delivered", "delivery was successful",
	"successful delivery notification", "successfully relayed", "relayed to the following", "delivery is complete", "erfolgreich zugestellt", "erfolgreich übermittelt", "remis avec succès",
	"entregado correctamente", "consegnato correttamente", "entregue com êxito"}

// robotNames are in the From of gateways and filters that write bounces.
var robotNames = []string{"no-reply", "noreply", "no_reply", "donotreply", "do-not-reply", "notification", "daemon", "postmaster", "post_master", "admin", "mailer", "bounce",
	"mail system", "mail service", "mail_service", "smtp", "mail server", "interscan", "antivirus", "anti-virus", "virus", "filter", "mailmarshal", "gateway", "delivery", "mailguard", "spam", "undeliverable", "root@", "system@"}
