package dsn

import "testing"

// TestAbsent has people's programs answer, with nothing but a subject or the first
// words to tell them by: none of it acknowledges, and none is a failure. The same
// subject behind a "Re:" is a person's.
func TestAbsent(t *testing.T) {
	titles := []string{
		"Réponse automatique : ", "Absence : ", "Message d'absence : ", "Absente du bureau : ", "En congés : ", "Automatische Antwort: ", "Abwesenheitsnotiz: ", "Abwesenheitsmeldung: ", "Urlaub - ", "Außer Haus: ",
		"Respuesta automática: ", "Fuera de oficina: ", "Ausente: ", "Risposta automatica: ", "Fuori sede: ", "In ferie: ", "Resposta automática: ", "Ausência: ", "Férias: ", "Automatisch antwoord: ", "Afwezigheidsbericht: ", "Niet aanwezig: ",
		"Autosvar: ", "Frånvaro: ", "Automatiskt svar: ", "Automatisk svar: ", "Fraværsmelding: ", "Automaattinen vastaus: ", "Lomalla: ", "Automatyczna odpowiedź: ", "Nieobecność: ", "Automatická odpověď: ", "Dovolená: ", "Automatikus válasz: ", "Szabadság: ",
		"Otomatik yanıt: ", "Ofis dışında: ", "Αυτόματη απάντηση: ", "Автоматический ответ: ", "В отпуске: ", "Автоматична відповідь: ", "Răspuns automat: ", "Автоматичен отговор: ", "Automatski odgovor: ", "Samodejni odgovor: ", "Automaatvastus: ",
		"自動応答: ", "不在通知: ", "休暇: ", "自动答复: ", "自動回覆: ", "외출 자동 회신: ", "부재중: ", "رد تلقائي: ", "תשובה אוטומטית: ", "Trả lời tự động: ", "Balasan otomatis: ", "OOO: ", "[Auto-Reply] ", "Auto: ", "Away from the office: ",
		"Gelesen: ", "Lu : ", "Non lu : ", "Nicht gelesen: ", "Leído: ", "Letto: ", "Lida: ", "Прочтено: ", "開封済み: ", "已读: ", "읽음: ",
	}
	for _, title := range titles {
		for _, subject := range []string{"Pump 3", "Delivery failed: pump 3", "RE: Mailbox full on mx2"} {
			raw := "From: Bea <bea@example.com>\nTo: r-token@gw.example\nSubject: " + title + subject + "\nIn-Reply-To: <orig@gw.example>\n\n..\n"
			if got := Parse([]byte(raw)); !got.Auto || got.Kind == KindFailed {
				t.Errorf("%q is %s", title+subject, got.Kind)
			}
		}
	}
	for _, words := range absentWords {
		raw := "From: Bea <bea@example.com>\nTo: r-token@gw.example\nSubject: Re: Pump 3\n\n" + words + " 7.12.\n"
		if got := Parse([]byte(raw)); !got.Auto || got.Kind == KindFailed {
			t.Errorf("%q is %s", words, got.Kind)
		}
	}
	for _, subject := range []string{"Re: Urlaub", "AW: Absence of flow, pump 3", "RE: Holiday rota", "Antw: Férias", "Re: Message automatique: pompe 3", "Pump 3", "Sv: Semesterlista", "Re: Away mode", "Betreff: Anlage 4"} {
		for _, words := range []string{"Got it, I am on my way.", "Je suis actuellement sur place, je m'en occupe.", "Ich bin vor Ort und kümmere mich.", "Ich befinde mich derzeit an der Pumpe."} {
			raw := "From: Bea <bea@example.com>\nTo: r-token@gw.example\nSubject: " + subject + "\nIn-Reply-To: <orig@gw.example>\n\n" + words + "\n"
			if got := Parse([]byte(raw)); got.Auto || got.Kind != KindReply {
				t.Errorf("%q, %q: %s, auto %v", subject, words, got.Kind, got.Auto)
			}
		}
	}
}
