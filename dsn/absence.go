package dsn

import (
	"slices"
	"strings"
)

// The words of programs that answer for people, in lower case, by language. A program
// puts them in front of the subject that it answers, where a person's has a "Re:".

// automaticSubjects say it wherever they stand in a subject.
var automaticSubjects = slices.Concat([]string{
	"out of office", "out of the office", "out-of-office", "automatic reply", "auto reply", "auto-reply", "autoreply", "auto response", "auto-response",
	"autoresponse", "autorespons", "auto-respons", "automated reply", "automated response", "automatic response", "vacation reply", "vacation response", "vacation message", "vacation notice", "vacation:", "on vacation", "on annual leave", "on leave",
	"auto acknowledg",
}, []string{ // German, Dutch
	"abwesenheit", "abwesend", "automatische antwort", "autom. antwort", "automatische rückmeldung", "automatische eingangs", "automatische empfangs", "nicht im büro", "urlaubsnotiz", "urlaubsmeldung", "urlaubsvertretung",
	"automatisch antwoord", "automatische reactie", "afwezigheid", "afwezig",
}, []string{ // French, Italian, Spanish, Portuguese, Catalan, Romanian
	"réponse automatique", "reponse automatique", "répondeur automatique", "absence du bureau", "absent du bureau", "absente du bureau", "message d'absence", "notification d'absence",
	"risposta automatica", "risponditore automatico", "fuori ufficio", "fuori sede",
	"respuesta automática", "respuesta automatica", "contestación automática", "autorrespuesta", "fuera de la oficina", "fuera de oficina",
	"resposta automática", "resposta automatica", "resposta automàtica", "fora do escritório", "ausência temporária", "ausente do escritório",
	"răspuns automat", "raspuns automat",
}, []string{ // Scandinavian, Finnish, Baltic, Hungarian, Turkish, Greek
	"autosvar", "automatisk svar", "automatiskt svar", "frånvaromeddelande", "fraværsmeddelelse", "fraværsmelding", "automaattinen vastaus", "automaattivastaus", "poissaoloviesti", "poissaoloilmoitus",
	"automaatne vastus", "automaatvastus", "automātiska atbilde", "automātiskā atbilde", "automatinis atsakymas", "automatikus válasz", "házon kívül",
	"otomatik yanıt", "otomatik cevap", "ofis dışında", "αυτόματη απάντηση", "εκτός γραφείου",
}, []string{ // Slavonic
	"automatyczna odpowiedź", "odpowiedź automatyczna", "autoodpowiedź", "poza biurem", "automatická odpověď", "automatická odpoveď", "mimo kancelář", "mimo kanceláriu", "automatski odgovor", "samodejni odgovor",
	"автоответ", "автоматический ответ", "вне офиса", "автоматична відповідь", "автовідповідь", "автоматичен отговор", "аутоматски одговор",
}, []string{ // others
	"自動応答", "自動返信", "自動回答", "不在通知", "不在連絡", "不在のお知らせ", "自动答复", "自动回复", "自動回覆", "自動回復", "自動答覆", "不在办公室", "不在辦公室", "자동 회신", "자동 응답", "자동회신", "자동응답", "부재중", "부재 중",
	"رد تلقائي", "תשובה אוטומטית", "מענה אוטומטי", "ตอบกลับอัตโนมัติ", "trả lời tự động", "balasan otomatis", "jawapan automatik", "स्वचालित उत्तर",
})

// absenceSubjects say it where a subject begins with them; elsewhere they may be what it
// is about.
var absenceSubjects = []string{
	"away ", "away:", "away from", "i am away", "i'm away", "ooo ", "ooo:", "ooo-", "oof:", "absence", "absent", "not in the office", "on holiday", "on business trip", "annual leave", "currently out", "vacation", "auto:", "[auto]", "automatic:", "automatic message", "message automatique", "messaggio automatico", "mensaje automático", "mensagem automática", "automatisch bericht", "automatische nachricht", "currently unavailable",
	"urlaub", "im urlaub", "bin im urlaub", "ausser haus", "außer haus", "nicht erreichbar", "nicht anwesend", "auf dienstreise", "op vakantie", "vakantie", "niet aanwezig", "buiten kantoor",
	"en congé", "congés", "en vacances", "je suis absent", "je suis en congé", "indisponible", "en déplacement", "assente", "assenza", "in ferie", "ferie:", "sono in ferie", "ausente", "ausencia", "ausência", "de vacaciones", "vacaciones", "férias", "de férias", "em férias", "fora do", "concediu", "plecat", "absență",
	"frånvaro", "på semester", "semester:", "ej på kontoret", "inte på kontoret", "fravær", "ikke til stede", "på ferie", "ikke på kontoret", "poissa", "lomalla", "olen lomalla", "puhkusel", "eemal", "prombūtn", "atvaļināj", "atostog", "nėra biure", "szabadság", "távollét", "izinli", "izindeyim", "yıllık izin", "απουσία", "σε άδεια",
	"nieobecn", "urlop", "na urlopie", "nepřítom", "dovolená", "neprítom", "dovolenka", "odsutn", "odsoten", "godišnji odmor", "в отпуске", "отпуск", "отсутств", "меня нет", "командировк", "у відпустці", "відсутн", "в отпуск", "отсъств",
	"不在", "休暇", "休假", "外出", "假期", "出差", "휴가", "출장", "vắng mặt", "sedang cuti", "cuti ", "ลาพักร้อน", "خارج المكتب", "מחוץ למשרד", "נעדר",
}

// absentWords begin answers of programs that say nothing of it in their header.
var absentWords = []string{"i am out of the office", "i'm out of the office", "i am currently out of", "i'm currently out of", "i am currently away", "i'm currently away",
	"i will be out of the office", "i am on vacation", "i'm on vacation", "i am on holiday", "i'm on holiday", "i am on annual leave", "i am on leave", "i'm on leave", "i am away from the office", "i am out of office", "i'm out of office", "am currently out of office", "am currently on leave", "am currently on holiday", "will be out of office",
	"this is an automatic reply", "this is an automatic response", "this is an automated reply", "this is an automated response", "this is an automatically generated reply", "this is an automatic message", "this is an automated message",
	"this is an auto-generated reply", "this is an auto-reply", "this is an auto-response",
	"ich bin derzeit nicht", "ich bin zurzeit nicht", "ich bin zur zeit nicht", "bin ich nicht im büro", "bin ich nicht im hause", "ich bin nicht im büro", "ich bin nicht im haus", "ich bin außer haus", "ich bin ausser haus", "bin derzeit nicht im", "ich bin abwesend", "ich befinde mich im urlaub",
	"ich bin im urlaub", "bin ich im urlaub", "ihre nachricht wird nicht weitergeleitet", "ihre e-mail wird nicht weitergeleitet", "ihre mail wird nicht weitergeleitet", "wird nicht automatisch weitergeleitet", "dies ist eine automatische", "dies ist eine automatisch erzeugte", "dies ist eine automatisch generierte",
	"je suis absent", "je suis actuellement absent", "je suis actuellement en congé", "je suis actuellement en déplacement", "je suis actuellement en vacances", "je suis en congé", "je suis en vacances", "je suis en déplacement", "je serai absent", "actuellement absent", "actuellement en congé", "ceci est une réponse automatique", "ceci est un message automatique", "je suis indisponible",
	"sono fuori ufficio", "sono fuori sede", "sono assente", "sarò assente", "sono in ferie", "sarò in ferie", "attualmente assente", "questa è una risposta automatica", "questo è un messaggio automatico",
	"estoy fuera de la oficina", "estoy de vacaciones", "estoy ausente", "me encuentro fuera", "me encuentro de vacaciones", "me encuentro ausente", "estaré fuera", "estaré ausente", "esta es una respuesta automática", "este es un mensaje automático",
	"estou fora do escritório", "estou de férias", "estou ausente", "encontro-me ausente", "encontro-me de férias", "estarei ausente", "estarei de férias", "esta é uma resposta automática", "esta é uma mensagem automática",
	"ik ben afwezig", "ik ben momenteel niet", "ik ben momenteel afwezig", "ik ben op vakantie", "ik ben niet aanwezig", "ik ben niet op kantoor", "dit is een automatisch", "jag är inte på kontoret", "jag är på semester", "jag är på tjänsteresa", "jag har semester", "detta är ett automatiskt",
	"jeg er ikke på kontoret", "jeg er på ferie", "jeg har ferie", "jeg er fraværende", "dette er et automatisk", "dette er en automatisk", "olen lomalla", "olen poissa", "en ole tavattavissa", "tämä on automaattinen",
	"jestem poza biurem", "jestem na urlopie", "jestem nieobecn", "przebywam na urlopie", "to jest automatyczna", "jsem mimo kancelář", "jsem na dovolené", "mám dovolenou", "toto je automatická", "som mimo kancelárie", "som na dovolenke",
	"szabadságon vagyok", "nem vagyok az irodában", "ez egy automatikus", "ofis dışındayım", "izindeyim", "yıllık izindeyim", "bu bir otomatik", "sunt în concediu", "sunt plecat", "nu sunt la birou", "acesta este un mesaj automat",
	"βρίσκομαι σε άδεια", "απουσιάζω", "είμαι εκτός γραφείου", "я нахожусь в отпуске", "я в отпуске", "я в командировке", "нахожусь в отпуске", "меня нет в офисе", "меня нет на рабочем месте", "меня не будет", "это автоматический ответ", "это автоматическое сообщение", "я у відпустці", "я відсутн",
	"不在にしております", "不在にして", "不在です", "休暇中", "休暇をいただ", "休暇を取得", "出張中", "外出しております", "自動返信", "自動応答", "自動的に送信", "自动回复", "自動回覆", "我正在休假", "我目前不在", "我现在不在", "我不在办公室", "外出期间", "正在外出", "부재 중", "부재중", "휴가 중", "휴가중", "출장 중", "자동으로 발송", "자동 회신"}

// answerNames are in the names of fields that programs which answer for somebody set.
var answerNames = []string{"autoreply", "auto-reply", "autorespon", "auto-respon", "vacation", "outofoffice", "out-of-office", "autoanswer", "auto-answer"}

// saysItAnswers reports whether a field says that a program answers for somebody.
func (d *document) saysItAnswers() bool {
	for _, f := range d.header.Fields {
		name := strings.ToLower(f.Name)
		if !strings.HasPrefix(name, "x-") || name == "x-auto-response-suppress" {
			continue
		}
		value := strings.ToLower(strings.TrimSpace(f.Value()))
		if value == "vacation" || contains(name, answerNames) && value != "" && value != "no" && value != "false" && value != "0" {
			return true
		}
	}
	return false
}

// titledAnswer reports whether the subject is one that programs put before the one
// that they answer.
func (d *document) titledAnswer() bool {
	subject := strings.TrimLeft(d.title, "[(*#<\"'«「【（ ")
	return d.hasSubject(automaticSubjects) || beginsWith(subject, absenceSubjects) || beginsWith(subject, readSubjects) || beginsWith(subject, unreadSubjects)
}

// saysAbsent reports whether the first words are those of somebody who is not there.
func (d *document) saysAbsent() bool {
	return contains(d.lower[:min(len(d.lower), maxExcerpt)], absentWords)
}
