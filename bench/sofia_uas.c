/* The reference for set-ups: a server on Sofia-SIP's call-level API (nua) that answers every INVITE with 200 and one
 * session description, and accepts the BYE. It opens no sound. Compiled and run by setups.py only; never shipped.
 */
#include <sofia-sip/nua.h>
#include <sofia-sip/nua_tag.h>
#include <sofia-sip/sip_status.h>
#include <sofia-sip/sip_tag.h>
#include <sofia-sip/su_log.h>
#include <sofia-sip/soa_tag.h>
#include <stdio.h>

static const char answer[] =
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 7000 RTP/AVP 0 101\r\n"
    "a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n";

static void on_event(nua_event_t event, int status, char const *phrase, nua_t *nua, nua_magic_t *magic,
                     nua_handle_t *handle, nua_hmagic_t *hmagic, sip_t const *sip, tagi_t tags[]) {
    (void)phrase; (void)nua; (void)magic; (void)hmagic; (void)sip; (void)tags;
    if (event == nua_i_invite && status < 200)
        nua_respond(handle, SIP_200_OK, SIPTAG_CONTENT_TYPE_STR("application/sdp"), SIPTAG_PAYLOAD_STR(answer), TAG_END());
    else if (event == nua_i_terminated)
        nua_handle_destroy(handle);
}

int main(int argc, char **argv) {
    su_home_t home[1] = {SU_HOME_INIT(home)};
    if (argc < 2) return 2;
    su_init();
    su_home_init(home);
    su_log_set_level(NULL, 0);
    su_root_t *root = su_root_create(NULL);
    /* One thread, as offhook's signalling has. */
    su_root_threading(root, 0);
    nua_t *nua = nua_create(root, on_event, NULL, NUTAG_URL(argv[1]), NUTAG_MEDIA_ENABLE(0), NUTAG_AUTOANSWER(0),
                            NUTAG_AUTOALERT(0), NUTAG_AUTOACK(1), NUTAG_SESSION_TIMER(0), TAG_END());
    if (!nua) return 1;
    printf("ready\n");
    fflush(stdout);
    su_root_run(root);
    return 0;
}
